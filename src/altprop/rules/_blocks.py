"""The network cut into blocks: a direct rule teaches the hidden tensors at the cuts, and no credit crosses them."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map_only

from altprop._class_swap import restore_class, swap_class
from altprop._preserve import pushed
from altprop._switches import without_autocast
from altprop._unsupported import refuse_transforms
from altprop.nn._witness import watch_for_new_layers
from altprop.rule import Attachment, Rule, modules_of
from altprop.rules._batch import clear as forget_batches
from altprop.rules._hooks import hook_of_kind, remove_hooks
from altprop.rules._in_force import (
    refuse_checkpointing,
    saving_hooks,
    warn_of_call_around,
    warn_of_uncut_weights,
    watch_the_named_output,
)
from altprop.rules._layers import cut_points, first_layer, holders_of_all_layers, is_layer, last_layer, named
from altprop.rules._masks import Mask, MaskArgument, masks_given, takers_of_masks
from altprop.rules._outputs import Reached, check_not_a_loss, chosen_of, rebuild, tracks_who_is_reached

_READY = "_altprop_direct_ready"
_ROOT = "_altprop_direct_root"


class DirectRule(Rule):
    """A rule that cuts the network into blocks and teaches each by itself.

    By default the network is cut at the input of every layer that holds a weight matrix, so that a block is such a
    layer and what follows it; normalisation belongs to the block before. The first layer that runs begins the first
    block. The tensor at a cut is h_l, the output of the block before it. From the cut on it is a constant, also for a
    residual connection that uses it, and a tensor that enters several layers is taught once.

    Args:
        blocks: names of modules, as in ``named_modules()``: the network is cut at their inputs instead. Within a block,
            credit flows by backprop.
        output: the name of the module whose output is the network's; by default the model itself. For models that
            compute their own loss, such as ``"lm_head"`` in Hugging Face's.
        strict: make each warning of the rule an error.
    """

    _draws_on_first_batch = False
    _teaches = True
    _keeps_hidden = True
    _needs_error = False
    _source_is_targets = False
    batch_dim: int | None = None
    mask: str | None = None

    def __init__(self, blocks: Iterable[str] | None = None, output: str | None = None, *, strict: bool = False) -> None:
        if isinstance(blocks, str):
            raise ValueError(f"{type(self).__name__}'s blocks are a list of module names, got the string {blocks!r}.")
        self.blocks = None if blocks is None else tuple(blocks)
        self.output = output
        self.strict = strict

    @abstractmethod
    def _on_cut(self, run: BlockPass, cut: Cut, h: Tensor) -> None:
        """Handle ``h``, which is h_l with the graph of its block: remember it on ``run``, or teach it now."""

    @abstractmethod
    def _join_output(
        self, run: BlockPass, outputs: list[Tensor], chosen: int, told: Reached | None
    ) -> Sequence[Tensor]:
        """Give back ``outputs`` so that ``backward()`` from any of them reaches what ``run`` remembers.

        Args:
            run: the forward pass.
            outputs: the floating-point tensors that the model returns and that need a gradient.
            chosen: the place of the network's output among them.
            told: called in the backward pass with the places of the outputs that the loss reaches; None if there is
                only one output.
        """

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        """Put the rule's own state on the model when it is attached."""

    def _clear(self, model: nn.Module) -> None:
        """Undo :meth:`_prepare`, even if it was interrupted, and remove what was drawn since."""

    def _misses(self, name: str, module: nn.Module) -> bool:
        cut = is_layer(module) if self.blocks is None else name in self.blocks
        return cut and hook_of_kind(module, Cut) is None

    def _install(self, model: nn.Module) -> None:
        last_layer(model)
        watch_for_new_layers()
        cuts = cut_points(model, self.blocks)
        output = named(model, self.output, "output=") if self.output else model
        masked = takers_of_masks(model, self.mask) if self._teaches else []
        self._prepare(model, cuts)
        for name, module in cuts:
            module.register_forward_pre_hook(Cut(model, name, self.blocks is None), with_kwargs=True)
        for module, arguments in masked:
            module.register_forward_pre_hook(_Masks(model, arguments), with_kwargs=True)
        if output is not model:
            output.register_forward_hook(_Output(model))
        for module in holders_of_all_layers(model):
            module.__dict__[_ROOT] = model
            swap_class(module, _Directed)
        swap_class(model, _Directed)

    def _uninstall(self, model: nn.Module) -> None:
        for module in modules_of(model):
            restore_class(module, _Directed)
            remove_hooks(module, lambda hook: isinstance(hook, Cut | _Output | _Masks))
            for name in (_ROOT, _READY):
                module.__dict__.pop(name, None)
        forget_batches(model)
        self._clear(model)


class BlockPass:
    """One forward pass of an attached model.

    Attributes:
        attachment: of the model.
        given: the model's inputs: they are no block's output, so that a gradient may reach them.
        first: whether the model has not run before.
        entered: the module of the first layer that has run.
        output_reached: whether the output has been reached.
        taught: what the rule remembers until the output is reached.
        counts: by layer, how many hidden tensors it was given.
        cut_views: tensors that could not be cut in place, each with its constant.
        cut: constants, each with the tensor that it was made of.
        masks: those that the model was given.
        shares: what they give to each position, worked out once.
        source: what is projected to every hidden layer, once the rule knows it.
        named: what the module gave back whose output is the network's, if it is not the model.
        saving: torch's hooks on saved tensors, as they were at the start.
    """

    def __init__(self, attachment: Attachment, given: list[Tensor], first: bool) -> None:
        self.attachment = attachment
        self.given = given
        self.first = first
        self.entered: nn.Module | None = None
        self.output_reached = False
        self.taught: list[Any] = []
        self.counts: dict[str, int] = {}
        self.cut_views: list[tuple[Tensor, Tensor]] = []
        self.cut: list[tuple[Tensor, Tensor]] = []
        self.masks: list[Mask] = []
        self.shares: dict[Any, Tensor] = {}
        self.source: Tensor | None = None
        self.named: Any = None
        self.saving = None if torch.compiler.is_compiling() else saving_hooks()

    def live(self, tensor: Tensor) -> Tensor:
        """The tensor that a constant was made of, if it is a hidden layer; else itself."""
        if tensor.requires_grad or not self.attachment.rule._keeps_hidden:  # type: ignore[attr-defined]
            return tensor
        return next((live for constant, live in self.cut if constant is tensor), tensor)


class Cut:
    """A forward pre-hook: cuts the network at the input of ``name``, while ``model`` runs under its rule.

    Attributes:
        model: the attached model.
        name: of the module that the hook is on.
        module: the module itself.
        by_layer: the model is cut at each layer, so that the first one to run begins the first block.
        channels_first: what enters the module has its channels in dimension 1, as for a convolution.
        dims: the number of dimensions of what enters the module, with batch and channels, if it is a convolution.
    """

    def __init__(self, model: nn.Module, name: str, by_layer: bool) -> None:
        self.model = model
        self.name = name
        self.by_layer = by_layer
        self.module = model.get_submodule(name)
        self.channels_first = isinstance(first_layer(self.module), _ConvNd)
        self.dims = len(self.module.kernel_size) + 2 if isinstance(self.module, _ConvNd) else 0

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        run = _current_run(self.model)
        if run is None:
            warn_of_call_around(self.model, self.name)
            return None
        if run.output_reached:
            return None
        compiling = torch.compiler.is_compiling()
        if not compiling:
            refuse_checkpointing(run.attachment.rule, run.saving)
        if run.entered is None:
            run.entered = module
            if self.by_layer:
                return None
        if len(args) == 1 and isinstance(args[0], Tensor) and not kwargs:
            return (self._cut(run, args[0], compiling),), kwargs  # as below: most layers, and trees take their time
        return tree_map_only(Tensor, lambda h: self._cut(run, h, compiling), (args, kwargs))

    def _cut(self, run: BlockPass, h: Tensor, compiling: bool) -> Tensor:
        if not h.requires_grad or any(h is x for x in run.given):
            return h
        for known, constant in run.cut_views:
            if h is known:
                return constant
        rule: Any = run.attachment.rule
        if h._base is not None or h.is_leaf:
            constant, live = h.detach(), h
            if rule._teaches:
                run.cut_views.append((h, constant))
        else:
            live = h.view_as(h)
            # In place, so that no other use of this tensor, such as a residual connection, carries credit past the cut.
            constant = h.detach_()
        # Not in compiled code, where keeping the constant would keep its tensor from its gradient.
        if (rule._keeps_hidden or run.first) and not compiling:
            run.cut.append((constant, live))
        rule._on_cut(run, self, live)
        return constant


class _Output:
    """A forward hook on the module whose output is the network's."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        run = _current_run(self.model)
        if run is None or run.output_reached:
            return output
        run.named = _joined(run, output)
        return run.named


class _Masks:
    """A forward pre-hook on a module that takes masks: keeps them for the pass."""

    def __init__(self, model: nn.Module, arguments: list[MaskArgument]) -> None:
        self.model = model
        self.arguments = arguments

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        run = _current_run(self.model)
        if run is not None:
            run.masks += masks_given(self.arguments, args, kwargs)


def teach_now(root: Tensor, signal: Tensor | None = None) -> None:
    """Run the backward pass of one block, from its output or local loss, during the forward pass of the network."""
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "when='forward' runs backward passes inside the forward pass, which torch.compile cannot trace."
        )
    if nn.parallel.DistributedDataParallel._get_active_ddp_module() is not None:  # type: ignore[no-untyped-call]
        raise RuntimeError(
            "when='forward' leaves gradients before DistributedDataParallel is ready to average them. Use "
            "when='backward'."
        )
    try:
        without_autocast(root.device.type, torch.autograd.backward)(root, signal)
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise RuntimeError(
            "when='forward' met a block that an earlier cut has taught and freed: a residual stream that no cut lies "
            "on joins them. Name the residual blocks with blocks=[...], or use when='backward'."
        ) from error


class _Directed:
    """Mixin for the class of an attached model: starts a pass that its cuts join.

    Also over submodules that hold all of its layers, for a training loop may call these instead.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        called: Any = self
        model: Any = called.__dict__.get(_ROOT, called)
        attachment = Attachment.of(model)
        if attachment is None or not attachment.active or not torch.is_grad_enabled():
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        if model is not called and _current_run(model) is not None:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        if "_is_replica" in called.__dict__:
            raise RuntimeError(
                f"nn.DataParallel runs copies of the model, whose layers do not meet {attachment.rule!r}. Use "
                f"torch.nn.parallel.DistributedDataParallel."
            )
        rule: Any = attachment.rule
        if not torch.compiler.is_compiling():
            refuse_transforms(rule)
        compiling, ready = torch.compiler.is_compiling(), bool(model.__dict__.get(_READY))
        if compiling and rule._draws_on_first_batch and not ready:
            # Imported here because it loads the compiler, which `import altprop` must not.
            from altprop.rules._first_batch import run_eagerly  # noqa: PLC0415

            return run_eagerly(self, args, kwargs)
        run = BlockPass(attachment, [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)], first=not ready)
        with pushed(_runs.current, (model, run)):
            output = super().__call__(*args, **kwargs)  # type: ignore[misc]
        if not run.output_reached:
            output = _joined(run, output)
        elif rule.output and run.taught:
            watch_the_named_output(attachment, run.named, output)
        if not ready and not compiling:
            model.__dict__[_READY] = True
        return output


def _joined(run: BlockPass, output: Any) -> Any:
    """The output of the network, as the node or nodes from which ``backward()`` reaches the hidden layers."""
    run.output_reached = True
    rule: Any = run.attachment.rule
    if isinstance(output, Tensor):
        if rule._needs_error:
            check_not_a_loss(output, rule)
        warn_of_uncut_weights(run, [output])
        return rule._join_output(run, [run.live(output)], 0, None)[0]

    def join(tensors: list[Tensor], names: list[str]) -> list[Tensor]:
        chosen = chosen_of(output, tensors, names, rule) if rule._needs_error or not tensors else 0
        warn_of_uncut_weights(run, tensors)
        alive = [run.live(tensor) for tensor in tensors]
        part = [place for place, tensor in enumerate(alive) if tensor.requires_grad or place == chosen]
        direct = {number for number, place in enumerate(part) if alive[place] is not tensors[place]}
        names = [names[place] for place in part]
        tracked = rule._needs_error and tracks_who_is_reached(len(part))
        told = Reached(run.attachment, names, part.index(chosen), direct) if tracked else None
        joined = rule._join_output(run, [alive[place] for place in part], part.index(chosen), told)
        found = dict(zip(part, joined, strict=True))
        return [found.get(place, tensor) for place, tensor in enumerate(tensors)]

    return rebuild(output, join)


@contextmanager
def hidden_gradients(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within the block, keep the gradient at each tensor that enters a cut: by the name of the module it enters."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if hook_of_kind(module, Cut):
            probe = _probe(name, found)
            handles.append(module.register_forward_pre_hook(probe, with_kwargs=True, prepend=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _probe(name: str, found: dict[str, Tensor]) -> Any:
    def keep(g: Tensor) -> None:
        found.setdefault(name, g.detach())

    def watch(module: nn.Module, args: Any, kwargs: Any) -> None:
        for h in tree_leaves((args, kwargs)):
            if isinstance(h, Tensor) and h.requires_grad:
                h.register_hook(keep)  # type: ignore[no-untyped-call]

    return watch


class _Runs(threading.local):
    def __init__(self) -> None:
        self.current: list[tuple[nn.Module, BlockPass]] = []


_runs = _Runs()


def _current_run(model: nn.Module) -> BlockPass | None:
    """The innermost forward pass of ``model`` on this thread."""
    for other, run in reversed(_runs.current):
        if other is model:
            return run
    return None
