"""The op interceptor: sees every torch function that a model calls, and lets a table of rules answer for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import torch
from torch import Tensor, is_grad_enabled
from torch.compiler import is_compiling
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    resolve_name,
)
from torch.utils._pytree import tree_leaves

from altprop.ops.names import OpRule, overwrites
from altprop.ops.operands import by_place, by_place_traced
from altprop.ops.witness import Witness, sequence_number

P = ParamSpec("P")
T = TypeVar("T")

Observer = Callable[[str, OpRule | None], None]
"""Called with every operation that takes part in the backward pass: its name and its rule, None if it has none."""


class Interceptor(TorchFunctionMode):
    """While entered, answers every torch function that needs a gradient by its rule from a table.

    The mode belongs to one thread and to one run of one model: make a new one for each forward pass. An interceptor
    entered within another silences the outer one until it leaves, so that a model called by another model follows its
    own rule alone.

    Args:
        rules: from torch function to its rule, as :func:`altprop.ops.names.resolve` makes it.
        settings: handed to every rule.
        unknown: called with the name of each function that takes part in the backward pass and has no rule; such a
            function keeps its ordinary gradient, or follows ``fallback``.
        observer: see :data:`Observer`.
        fallback: the rule of such functions, if the ordinary gradient will not do.
        kind: ``"lrp"`` or ``"lfp"``: an attribute too, so that a layer can tell what it runs for.

    Attributes:
        witness: knows which nodes of the pass's graph were made by rules.
    """

    witness: Witness

    def __init__(
        self,
        rules: Mapping[Callable[..., Any] | str, OpRule],
        settings: object,
        unknown: Callable[[str], None],
        observer: Observer | None = None,
        fallback: OpRule | None = None,
        kind: str = "",
    ) -> None:
        super().__init__()
        self._rules = rules
        self.settings = settings
        self._unknown = unknown
        self._observer = observer
        self._fallback = fallback
        self.kind = kind
        self._silenced = 0
        self._outer: list[Interceptor] = []
        self._depth = 0

    def run(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Call ``function`` with this interceptor entered, and always exit it.

        A ``with`` statement does the same but for an interrupt (Ctrl-C) in the very moment in which it ends.
        """
        if is_compiling():
            with self:
                return function(*args, **kwargs)
        self._depth = torch._C._len_torch_function_stack()
        try:
            with self:
                return function(*args, **kwargs)
        finally:
            while torch._C._len_torch_function_stack() > self._depth:
                _pop_mode()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        self._outer = _active_modes()
        for mode in self._outer:
            mode._silenced += 1
        if not is_compiling():
            self.witness = Witness()
        return super().__enter__()  # type: ignore[no-untyped-call, no-any-return]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for mode in self._outer:
            mode._silenced -= 1
            if not mode._silenced and not is_compiling():
                mode.witness.note(type(self), self.witness.start, sequence_number())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of a torch function: torch calls this, users do not."""
        if kwargs is None:
            kwargs = {}
        if self._silenced:
            return func(*args, **kwargs)
        if is_compiling():
            return self._traced(func, args, kwargs)
        if not is_grad_enabled():
            _refuse_checkpointing()
            return self._without_gradient(func, args, kwargs)
        if _saved_tensor_hooks(False) is not None:
            _refuse_checkpointing()
        if kwargs:
            args, kwargs = by_place(func, args, kwargs)
        before, rule = sequence_number(), self._rules.get(func)
        if rule is not None and self._observer is None:
            result = rule(self.settings, func, *args, **kwargs)
            if result is NotImplemented:
                result = self._answer(func, None, func, args, kwargs)
        else:
            result = self._answer(func, rule, func, args, kwargs)
        after = sequence_number()
        if after != before:
            self.witness.note(func, before, after)
        return result

    def _traced(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_grad_enabled():
            return self._without_gradient(func, args, kwargs)
        if kwargs:
            args, kwargs = by_place_traced(func, args, kwargs)
        return self._answer(func, self.rule_of(func), func, args, kwargs)

    def _without_gradient(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)

    def silence(self) -> None:
        """Ignore all calls until :meth:`resume`; calls nest."""
        self._silenced += 1

    def resume(self) -> None:
        """Undo one :meth:`silence`."""
        self._silenced -= 1

    def answer(
        self,
        function: Callable[..., Any],
        rule: OpRule | None,
        key: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Answer a call of ``function``, which torch does not dispatch, by ``rule``, and ignore its parts.

        ``key`` is what the call is reported as.
        """
        self.silence()
        try:
            if is_compiling():
                return self._answer(key, rule, function, args, kwargs)
            before = sequence_number()
            result = self._answer(key, rule, function, args, kwargs)
            self.witness.note(key, before, sequence_number())
            return result
        finally:
            self.resume()

    def _answer(
        self,
        key: Callable[..., Any],
        rule: OpRule | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        # An in-place operation cannot run twice, so the fallback runs it from the start.
        at_once = rule is None and self._fallback is not None and overwrites(key) and _in_graph((args, kwargs))
        by = self._fallback if at_once else rule
        result = function(*args, **kwargs) if by is None else by(self.settings, function, *args, **kwargs)
        if result is NotImplemented:  # the rule knows the function, but not with such operands
            return self._answer(key, None, function, args, kwargs)
        if (rule is None or self._observer is not None) and _takes_credit(key, result):
            name = _name(key)
            if self._observer is not None:
                self._observer(name, rule)
            if rule is None and (self._fallback is None or _in_graph((args, kwargs))):
                self._unknown(name)
            if rule is None and self._fallback is not None and not at_once:
                result = self._fallback(self.settings, function, *args, **kwargs)
        return result

    def rule_of(self, func: Callable[..., Any]) -> OpRule | None:
        """The rule that the table has for ``func``."""
        if is_compiling():
            named = getattr(func, "__wrapped__", func)
            rule = self._rules.get(getattr(named, "__name__", ""))
            if rule is not None:
                return rule
        return self._rules.get(func)


def active_interceptor() -> Interceptor | None:
    """The interceptor that is active on this thread, if any."""
    if not is_grad_enabled():
        return None
    modes = _active_modes()
    return modes[-1] if modes and not modes[-1]._silenced else None


def _active_modes() -> list[Interceptor]:
    """The interceptors entered on this thread, the innermost last."""
    if not torch._C._len_torch_function_stack():
        return []
    stack = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return [mode for mode in stack if isinstance(mode, Interceptor)]


def one_operation(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that an interceptor sees it as one operation."""

    @wraps(function)
    def visible(*args: P.args, **kwargs: P.kwargs) -> T:
        interceptor = active_interceptor()
        if interceptor is None:
            return function(*args, **kwargs)
        result: T = interceptor.answer(function, interceptor.rule_of(visible), visible, args, kwargs)
        return result

    return visible


def _takes_credit(func: Callable[..., Any], result: Any) -> bool:
    if getattr(func, "__name__", "") in {"__get__", "__set__"}:
        return False
    if isinstance(result, tuple | list):
        return any(_takes_credit(func, part) for part in result)
    return isinstance(result, Tensor) and result.requires_grad


def _in_graph(arguments: Any) -> bool:
    """Whether one of the arguments is a result in the graph, not a leaf."""
    return any(isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf for leaf in tree_leaves(arguments))


def _name(func: Callable[..., Any]) -> str:
    if is_compiling():
        return str(getattr(func, "__name__", "an operation"))
    return resolve_name(func) or str(getattr(func, "__qualname__", type(func).__name__))


_CHECKPOINT = "torch.utils.checkpoint"
_saved_tensor_hooks = torch._C._autograd._top_saved_tensors_default_hooks


def _refuse_checkpointing() -> None:
    """Refuse activation checkpointing, whose recomputation in the backward pass would escape the rule."""
    hooks = _saved_tensor_hooks(False)
    checkpointed = hooks is not None and getattr(hooks[0], "__module__", "") == _CHECKPOINT
    if not checkpointed and not is_grad_enabled():
        checkpointed = _within_reentrant_checkpoint()
    if checkpointed:
        raise RuntimeError(
            "This model uses activation checkpointing (torch.utils.checkpoint), which runs parts of the forward pass "
            "again during the backward pass, where rules no longer see them. Switch checkpointing off (in Hugging Face "
            "models: model.gradient_checkpointing_disable(); in timm's: model.set_grad_checkpointing(False))."
        )


def _within_reentrant_checkpoint() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "forward" and frame.f_globals.get("__name__") == _CHECKPOINT:
            return True
    return False
