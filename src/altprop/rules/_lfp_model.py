"""LFP on a model: passes of the whole model, and of its parts when they are called alone."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_map_only

from altprop._class_swap import restore_class, swap_class
from altprop._containers import arguments_in, replace_tensors, tensors_in
from altprop._unsupported import refuse_transforms
from altprop.ops.interceptor import Interceptor, active_interceptor
from altprop.ops.lfp.objective import LOSS_TABLE, looks_like_a_loss
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.lfp.table import LFPInterceptor
from altprop.ops.names import OpRule
from altprop.rule import Attachment, modules_of

_count_modes, _mode_at = torch._C._len_torch_function_stack, torch._C._get_function_stack_at

_PART = "_altprop_part"
_STATE = "_altprop_lfp"


def install(model: nn.Module, rules: dict[str, OpRule], output: str) -> None:
    """Put LFP on ``model``.

    Args:
        model: any module.
        rules: from the names of submodules that are one operation to the rule of each.
        output: the name of the submodule whose output is the network's; empty for the model itself.
    """
    hidden = {id(part) for module in model.modules() if isinstance(module, parametrize.ParametrizationList)
              for part in module.modules()}  # fmt: skip
    for name, module in model.named_modules():
        rule = rules.get(name)
        runs = id(module) not in hidden and _can_run(module, rule)
        if module is not model and (runs or rule is not None or (output and name == output)):
            module.__dict__[_PART] = _Part(model, rule, runs=runs, is_output=bool(output) and name == output)
            swap_class(module, PartOfModel)
    model.__dict__[_STATE] = state = _State()
    swap_class(model, WholeModel)
    state.watch(model)


def uninstall(model: nn.Module) -> None:
    """Undo :func:`install`, even one that was interrupted."""
    restore_class(model, WholeModel)
    state = model.__dict__.pop(_STATE, None)
    if state is not None:
        state.unwatch()
    for module in modules_of(model):
        restore_class(module, PartOfModel)
        module.__dict__.pop(_PART, None)


# Modules that only move values: called by themselves, their ordinary gradient is LFP's.
_MOVES = {
    nn.ReLU, nn.Identity, nn.Flatten, nn.Unflatten, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
}  # fmt: skip


def _can_run(module: nn.Module, rule: OpRule | None) -> bool:
    """Whether ``module``, called by itself, is a part of the network; without parameters it could be a loss."""
    if isinstance(module, torch.jit.ScriptModule | parametrize.ParametrizationList) or "_orig_mod" in module._modules:
        return False
    if type(module).forward is nn.Module.forward or type(module) in _MOVES:
        return False
    where = type(module).__module__
    torchs_own = where.startswith("torch.nn.modules.") and not where.endswith((".loss", ".distance"))
    return rule is not None or torchs_own or any(True for _ in module.parameters())


class _Part:
    """What a submodule knows of its model, without keeping that alive in copies of the submodule."""

    __slots__ = ("is_output", "is_plain", "rule", "runs", "whole")

    def __init__(self, whole: nn.Module | None, rule: OpRule | None, runs: bool, is_output: bool) -> None:
        self.whole, self.rule, self.runs, self.is_output = whole, rule, runs, is_output
        self.is_plain = rule is None and not is_output

    def __reduce__(self) -> Any:
        return _Part, (None, self.rule, self.runs, self.is_output)


class _State:
    """LFP's state on a model, which copies do not get.

    Attributes:
        structures: of passes that the witness has looked at, and what it found.
        compiled: whether a pass was traced by torch.compile, which tells no one what the rule acted on.
    """

    def __init__(self) -> None:
        self.structures: dict[int, list[str]] = {}
        self.compiled = False
        self._watched: dict[int, ref[Tensor]] = {}
        self._untouched: list[str] = []

    def __reduce__(self) -> Any:
        return _State, ()

    @property
    def acted(self) -> Any:
        """The callback for parameters that the rule acts on; None once it has acted on all."""
        return self._acted if self._watched else None

    def watch(self, model: nn.Module) -> None:
        """Watch for parameters that receive a gradient before the rule has acted on them."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.is_leaf:
                self._watched[id(parameter)] = ref(parameter)
                parameter.register_hook(_Watch(self, model, name))  # type: ignore[no-untyped-call]

    def unwatch(self) -> None:
        """Remove the hooks."""
        while self._watched:
            identity, parameter = next(iter(self._watched.items()))
            _take_hook_off(parameter())
            self._watched.pop(identity, None)

    def _acted(self, parameter: Tensor) -> None:
        if id(parameter) in self._watched:
            _take_hook_off(parameter)
            self._watched.pop(id(parameter), None)

    def note_untouched(self, model: nn.Module, name: str) -> None:
        """Warn, at the end of this backward pass, that parameter ``name`` received a gradient that is not LFP's."""
        if not self._untouched:
            Variable._execution_engine.queue_callback(lambda: self._tell(model))
        self._untouched.append(name)

    def _tell(self, model: nn.Module) -> None:
        found, self._untouched = self._untouched, []
        attachment = Attachment.of(model)
        if attachment is None or self.compiled:
            return
        self.unwatch()
        tell(
            attachment,
            "untouched",
            f"{attachment.rule!r} never acted on {listed(found)}, which received a gradient: an ordinary one. It acts "
            f"where the model or one of its modules is called, as in model(x), not where model.forward(x) or "
            f"functions of torch are.",
        )


class _Watch:
    """A hook on a parameter that the rule has not acted on yet."""

    __torch_unserializable__ = True

    def __init__(self, state: _State, model: nn.Module, name: str) -> None:
        self.state, self.model, self.name = state, model, name

    def __call__(self, g: Tensor) -> None:
        attachment = Attachment.of(self.model)
        if attachment is not None and attachment.active and not self.state.compiled:
            self.state.note_untouched(self.model, self.name)


def _take_hook_off(parameter: Tensor | None) -> None:
    hooks: Any = None if parameter is None else parameter._backward_hooks
    if hooks is None:
        return
    for key in [key for key, hook in hooks.items() if isinstance(hook, _Watch)]:
        del hooks[key]
    if not hooks:
        parameter._backward_hooks = None  # type: ignore[union-attr]


def tell(attachment: Attachment, key: str, message: str) -> None:
    """Warn once, or raise if the rule is strict."""
    if attachment.observer is not None:
        return
    if attachment.rule.strict:  # type: ignore[attr-defined]
        raise RuntimeError(message)
    if key not in attachment.warned and not torch.compiler.is_compiling():
        attachment.warned.add(key)
        warnings.warn(message, stacklevel=3)


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


class WholeModel:
    """Mixin for the class of an attached model: the rule answers its operations while it runs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        attachment = Attachment.of(self)  # type: ignore[arg-type]
        if attachment is None or not attachment.active or not torch.is_grad_enabled():
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        if self._compiled_call_impl is not None and not torch.compiler.is_compiling():  # type: ignore[attr-defined]
            return self._compiled_call_impl(*args, **kwargs)  # type: ignore[attr-defined]
        if "_is_replica" in self.__dict__:
            raise RuntimeError(
                "nn.DataParallel hands its replicas copies in place of parameters, and LFP cannot tell them from "
                "activations. Use torch.nn.parallel.DistributedDataParallel."
            )
        return _run(attachment, super().__call__, args, kwargs)  # type: ignore[misc]

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        # This is what model.compile() compiles: the pass is inside.
        modes = _count_modes()
        if modes and isinstance(_mode_at(modes - 1), Interceptor):
            return super()._call_impl(*args, **kwargs)  # type: ignore[misc]  # the usual case, and the cheap one
        attachment = None if _within_a_pass() else Attachment.of(self)  # type: ignore[arg-type]
        if attachment is None or not attachment.active or not torch.is_grad_enabled():
            return super()._call_impl(*args, **kwargs)  # type: ignore[misc]
        return _run(attachment, super()._call_impl, args, kwargs)  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        for module in self.modules():  # type: ignore[attr-defined]
            part = module.__dict__.get(_PART)
            if part is not None:
                part.whole = self


class PartOfModel:
    """Mixin for the class of a module within an attached model.

    Within a pass of the model it may be one operation, whatever it is made of. Called outside, it is a pass of its own.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        part: _Part | None = self.__dict__.get(_PART)
        modes = _count_modes()
        if modes and part is not None and part.is_plain and isinstance(_mode_at(modes - 1), Interceptor):
            return super().__call__(*args, **kwargs)  # type: ignore[misc]  # the usual case, and the cheap one
        forward = super().__call__  # type: ignore[misc]
        if part is None or not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        if not _within_a_pass():
            attachment = Attachment.of(part.whole) if part.runs and part.whole is not None else None
            if attachment is None or not attachment.active:
                return forward(*args, **kwargs)
            return _run(attachment, forward if part.rule is None else self.__call__, args, kwargs)
        if part.is_plain:
            return forward(*args, **kwargs)
        return _as_part(part, type(self), forward, args, kwargs)


def _as_part(part: _Part, cls: type, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    interceptor = active_interceptor()
    if interceptor is None or not isinstance(interceptor.settings, LFPPass):
        return forward(*args, **kwargs)
    if part.rule is None:
        output = forward(*args, **kwargs)
    else:
        output = interceptor.answer(forward, part.rule, cls, args, kwargs)
    if part.is_output:
        interceptor._rules = LOSS_TABLE  # what comes now is the loss
    return output


def _within_a_pass() -> bool:
    count: int = _count_modes()
    if not count:
        return False
    if isinstance(_mode_at(count - 1), Interceptor):
        return True
    return any(isinstance(_mode_at(place), Interceptor) for place in range(count - 1))


def _run(attachment: Attachment, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    rule: Any = attachment.rule
    state: _State = attachment.model.__dict__[_STATE]
    if torch.compiler.is_compiling():
        state.compiled = True
        interceptor = rule._interceptor(attachment, list(tensors_in((args, kwargs))))
        output = interceptor.run(forward, args, kwargs)
        return tree_map_only(Tensor, interceptor.settings.apply_output_factor, output)
    refuse_transforms(rule)
    interceptor = rule._interceptor(attachment, arguments_in(args, kwargs), state.acted)
    lfp: LFPPass = interceptor.settings
    output = interceptor.run(forward, args, kwargs)
    finished = lfp.apply_output_factor
    output = finished(output) if isinstance(output, Tensor) else replace_tensors(output, finished)
    lfp.apply_remaining_factors()
    _look_at(attachment, state, interceptor, output)
    return output


def _look_at(attachment: Attachment, state: _State, interceptor: LFPInterceptor, output: Any) -> None:
    """Warn of operations that no rule answered, and of a loss that seems to be computed within the model."""
    results = (output,) if isinstance(output, Tensor) else tuple(tensors_in(output))
    for escape in interceptor.witness.escapes(results, state.structures if attachment.observer is None else {}):
        if attachment.observer is not None:
            attachment.observer(escape, None)
        tell(
            attachment,
            escape,
            f"{attachment.rule!r} has no rule for {escape}: it keeps its ordinary gradient. altprop.inspect lists "
            f"every such operation.",
        )
    if attachment.rule.output:  # type: ignore[attr-defined]
        _tell_of_parameters_of_the_loss(attachment, interceptor.settings.of_the_loss)
        return
    for result in results:
        if result.dim() == 0 and result.requires_grad and looks_like_a_loss(result, interceptor.witness):
            tell(
                attachment,
                "loss",
                f"{type(attachment.model).__name__} returns a single number that it computes from several: a loss? "
                f"{attachment.rule!r} takes it for the network's output, and shares it among what it is computed from. "
                f"If it is a loss, name the module whose output is the network's, LFP(output=...), or compute the loss "
                f"outside the model.",
            )


def _tell_of_parameters_of_the_loss(attachment: Attachment, used: list[Tensor]) -> None:
    if not used or "of the loss" in attachment.warned:
        return
    ids, rule = {id(parameter) for parameter in used}, attachment.rule
    found = [name for name, parameter in attachment.model.named_parameters() if id(parameter) in ids]
    if found:
        tell(
            attachment,
            "of the loss",
            f"{rule!r} takes what runs after {rule.output!r} for the loss, and it uses "  # type: ignore[attr-defined]
            f"{listed(found)}: ordinary gradients. If they belong to the network, name a later module as its output.",
        )
