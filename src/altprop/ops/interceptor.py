"""The op interceptor: sees every torch function that a model calls, and lets a table of rules answer for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    handle_torch_function,
    has_torch_function,
    resolve_name,
)

from altprop.ops.names import OpRule

Observer = Callable[[str, OpRule | None], None]
"""Told of every operation that takes part in the backward pass: its name and its rule, None if no rule knows it."""


class Interceptor(TorchFunctionMode):
    """While entered, answers every torch function that needs a gradient by its rule in a table.

    The mode belongs to one thread and to one run of one model: make a new one for each forward pass. An interceptor
    entered within another silences the outer one until it leaves, so that a model called by another model follows its
    own rule alone.

    Args:
        rules: from torch function to its rule, as :func:`altprop.ops.names.resolve` makes it.
        settings: handed to every rule.
        unknown: called with the name of each function that takes part in the backward pass and has no rule; such a
            function keeps its ordinary gradient.
        observer: see :data:`Observer`.
    """

    def __init__(
        self,
        rules: Mapping[Callable[..., Any] | str, OpRule],
        settings: object,
        unknown: Callable[[str], None],
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self._rules = rules
        self._settings = settings
        self._unknown = unknown
        self._observer = observer
        self._silenced = 0
        self._outer: list[Interceptor] = []

    def __enter__(self) -> Self:
        self._outer = [mode for mode in _get_current_function_mode_stack() if isinstance(mode, Interceptor)]
        for mode in self._outer:
            mode._silenced += 1
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for mode in self._outer:
            mode._silenced -= 1
        super().__exit__(kind, error, trace)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of a torch function: torch calls this, users do not."""
        kwargs = kwargs or {}
        if self._silenced:
            return func(*args, **kwargs)
        compiling = torch.compiler.is_compiling()
        if not compiling:
            _refuse_checkpointing()
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        rule = args[0].rule if func is call_module else self._rule_of(func, compiling)
        result = func(*args, **kwargs) if rule is None else rule(self._settings, func, *args, **kwargs)
        if (rule is None or self._observer is not None) and _takes_credit(func, result):
            self._report(func, rule, args)
        return result

    def _rule_of(self, func: Callable[..., Any], compiling: bool) -> OpRule | None:
        if compiling:
            named = getattr(func, "__wrapped__", func)
            rule = self._rules.get(getattr(named, "__name__", ""))
            if rule is not None:
                return rule
        return self._rules.get(func)

    def _report(self, func: Callable[..., Any], rule: OpRule | None, args: tuple[Any, ...]) -> None:
        name = type(args[0].module).__name__ if func is call_module else _name(func)
        if self._observer is not None:
            self._observer(name, rule)
        if rule is None:
            self._unknown(name)


class ModuleCall:
    """A module whose whole forward is one operation to the interceptor: the module and its rule."""

    def __init__(self, module: nn.Module, rule: OpRule, forward: Callable[..., Any]) -> None:
        self.module = module
        self.rule = rule
        self.forward = forward


def call_module(call: ModuleCall, *args: Any, **kwargs: Any) -> Any:
    """Run a module in a way that an interceptor sees as one torch function, with none of its parts."""
    if has_torch_function(args):
        return handle_torch_function(call_module, args, call, *args, **kwargs)
    return call.forward(*args, **kwargs)


def _takes_credit(func: Callable[..., Any], result: Any) -> bool:
    if getattr(func, "__name__", "") in {"__get__", "__set__"}:
        return False
    if isinstance(result, tuple | list):
        return any(_takes_credit(func, part) for part in result)
    return isinstance(result, Tensor) and result.requires_grad


def _name(func: Callable[..., Any]) -> str:
    if torch.compiler.is_compiling():
        return getattr(func, "__name__", "an operation")
    return resolve_name(func) or getattr(func, "__qualname__", repr(func))


_CHECKPOINT = "torch.utils.checkpoint"


def _refuse_checkpointing() -> None:
    """Refuse activation checkpointing: what it computes again in the backward pass would escape the rule."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    checkpointed = hooks is not None and getattr(hooks[0], "__module__", "") == _CHECKPOINT
    if not checkpointed and not torch.is_grad_enabled():
        checkpointed = _within_reentrant_checkpoint()
    if checkpointed:
        raise RuntimeError(
            "This model uses activation checkpointing (torch.utils.checkpoint), which runs parts of the forward pass "
            "again during the backward pass, where the attached rule no longer sees them. Switch checkpointing off "
            "(in Hugging Face models: model.gradient_checkpointing_disable()), or use torch.compile, under which the "
            "rule is part of what is computed again."
        )


def _within_reentrant_checkpoint() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "forward" and frame.f_globals.get("__name__") == _CHECKPOINT:
            return True
    return False
