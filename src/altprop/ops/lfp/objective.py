"""Losses computed within the model: where LFP ends, and how such a loss is detected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from altprop.ops import names
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.lfp.unseen import PARAMETER
from altprop.ops.names import OpRule, overwrites
from altprop.ops.witness import Witness


def part_of_the_loss(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Part of the loss: the ordinary gradient, for parameters too; the network's own tensors get their factor first."""
    if args and isinstance(args[0], Tensor) and overwrites(function) and lfp.is_activation(args[0]):
        lfp.before_overwriting(args[0])
        lfp.apply_factor_in_place(args[0])
    result = function(*_taken(lfp, args), **{key: _taken(lfp, value) for key, value in kwargs.items()})
    if result is None and args:
        lfp.defer(args[0], 0.0)
    return lfp.defer(result, 0.0)


def _taken(lfp: LFPPass, value: Any) -> Any:
    if type(value) in {list, tuple}:
        return type(value)(_taken(lfp, item) for item in value)
    if not isinstance(value, Tensor) or not value.requires_grad:
        return value
    if lfp.mark(value) == PARAMETER:
        lfp.of_the_loss.append(value)
        if lfp.acted is not None:
            lfp.acted(value)
        return value
    return lfp.apply_factor(value)


class _LossTable(dict[Callable[..., Any] | str, OpRule]):
    def get(self, key: object, default: object = None) -> OpRule:
        return part_of_the_loss


LOSS_TABLE = _LossTable()
"""Every function is part of the loss."""


_MOVES = {function for name in names.MOVES for function in names.functions(name)}
_REDUCTIONS = {
    function
    for name in ("add", "sub", "__add__", "__radd__", "__sub__", "__rsub__", "__iadd__", "add_", "sum", "mean", "mul",
                 "__mul__", "__rmul__", "div", "__truediv__", "neg", "__neg__", "__imul__", "mul_", "__itruediv__",
                 "div_", "nansum", "nanmean")
    for function in names.functions(name)
}  # fmt: skip
_OBJECTIVES = {function for name in names.OBJECTIVES for function in names.functions(name)}


def looks_like_a_loss(result: Tensor, witness: Witness) -> bool:
    """Whether a scalar comes from arithmetic other than sums of torch's objectives.

    An element of a layer's output is no loss, nor is what only moves it.
    """
    reduced = False
    seen: set[Any] = set()
    reached: list[Any] = [result.grad_fn]
    while reached:
        node = reached.pop()
        if node is None or node in seen or not witness.is_within(node):
            continue
        seen.add(node)
        function = witness.function_of(node)
        if function in _OBJECTIVES:
            continue
        if function in _REDUCTIONS:
            reduced = True
        elif function is not None and function not in _MOVES:
            if reduced:
                return True
            continue
        reached += [before for before, _ in node.next_functions]
    return False
