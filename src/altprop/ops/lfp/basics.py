"""LFP's basic rules, and the check before each whether an operand is an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from torch import Tensor

from altprop.ops.lfp.credit import SPIKES, secant, secant_denominator
from altprop.ops.lfp.pass_ import LFPPass, is_marked
from altprop.ops.lfp.unseen import PARAMETER, WEIGHT
from altprop.ops.names import OpRule

LEARNS, DEPENDS, BOTH = 1, 2, 3


def ruled(rule: OpRule, *, is_layer: bool = False) -> OpRule:
    """``rule`` for calls with an activation among the operands; what is computed from parameters alone is a weight.

    Args:
        rule: the rule.
        is_layer: the first operand is data even if nothing is known of it, unless it is known to be constant.
    """

    @wraps(rule)
    def answered(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.requires_grad and lfp.mark(first) >= SPIKES:
            reached = BOTH  # the usual case, and the cheap one
        else:
            reached = reached_by_call(lfp, args, kwargs)
        if reached == LEARNS and is_layer and not args[0].requires_grad and not lfp.is_constant(args[0]):
            reached = BOTH
        if reached == BOTH:
            result = rule(lfp, function, *args, **kwargs)
            if not is_marked(result):
                lfp.complete(result)
        elif reached == LEARNS:
            result = _ordinary(lfp, function, args, kwargs)
            lfp.defer(args[0] if result is None else result, WEIGHT)
        else:
            result = function(*args, **kwargs)
            lfp.note_origin(args[0] if result is None else result, reached == DEPENDS)
        return result

    return answered


def reached_by_call(lfp: LFPPass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """:func:`reached_by` for all arguments of a call."""
    reached = reached_by(lfp, args, 0)
    return reached_by(lfp, kwargs.values(), reached) if kwargs and reached != BOTH else reached


def reached_by(lfp: LFPPass, values: Iterable[Any], reached: int) -> int:
    """Flags: do ``values`` hold tensors that require a gradient, and tensors that depend on the input?"""
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                reached |= BOTH if lfp.mark(value) >= SPIKES else LEARNS
            elif not reached & DEPENDS and lfp.depends_on_input(value):
                reached |= DEPENDS
        elif type(value) in {list, tuple}:
            reached = reached_by(lfp, value, reached)
        if reached == BOTH:
            break
    return reached


def _ordinary(lfp: LFPPass, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*lfp.operands(args), **{key: lfp.operands(value) for key, value in kwargs.items()})


def ordinary(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The ordinary gradient."""
    return lfp.defer(_ordinary(lfp, function, args, kwargs), 0.0)


def mixture(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """LFP-ε: credit in proportion to each input's contribution; the update |w| · a · R / (z + ε·sign z)."""
    return lfp.defer(_ordinary(lfp, function, args, kwargs), lfp.epsilon)


def secant_of(lfp: LFPPass, z: Tensor, phi: Callable[[Tensor], Tensor]) -> Any:
    """a = φ(z), whatever φ is: the reward passes unchanged, so g_z = g_a · φ(z) / (z + ε·sign z)."""
    if z.is_complex():
        return NotImplemented
    z = lfp.apply_spike_factor(z)
    value = z.detach()
    denominator = secant_denominator(value, lfp.take(z) or lfp.epsilon)
    a = phi(value)
    if a is value:
        return lfp.defer(secant(z, z, denominator), 0.0)
    return lfp.defer(secant(z if a.shape == z.shape else z.expand(a.shape), a, denominator), 0.0)


def activation(lfp: LFPPass, function: Callable[..., Any], z: Tensor, *args: Any, **kwargs: Any) -> Any:
    """a = φ(z): the reward passes unchanged, so g_z = g_a · φ(z) / (z + ε·sign z)."""
    if not lfp.is_activation(z):
        return ordinary(lfp, function, z, *args, **kwargs)
    args, kwargs = tuple(_settings(lfp, args)), dict(zip(kwargs, _settings(lfp, kwargs.values()), strict=True))
    return secant_of(lfp, z, lambda value: function(value, *args, **kwargs))


def _settings(lfp: LFPPass, values: Iterable[Any]) -> list[Any]:
    # All credit is that of the value that the function is applied to.
    return [value.detach() if lfp.is_activation(value) else lfp.operand(value) for value in values]


def move(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values that move unchanged carry their credit, and a deferred factor, along."""
    z = args[0]
    if len(args) == 1 and isinstance(z, Tensor) and z.requires_grad and kwargs.keys() <= _NO_OPERANDS:
        mark = lfp.mark(z)
        if mark >= SPIKES:
            lfp.hand_over(z)
            return lfp.defer(function(z, **kwargs), mark)
    marks = marks_of(lfp, args, set())
    if kwargs:
        marks = marks_of(lfp, kwargs.values(), marks)
    if len(marks) == 1:
        (mark,) = marks
        if mark >= SPIKES:
            hand_over(lfp, args)
            hand_over(lfp, kwargs.values())
            return lfp.defer(function(*args, **kwargs), mark)
    if marks <= {PARAMETER, WEIGHT}:
        # By indices that depend on the input: an embedding.
        return mixture(lfp, function, *args, **kwargs)
    return ordinary(lfp, function, *args, **kwargs)


_NO_OPERANDS = {"inplace", "dim"}


def marks_of(lfp: LFPPass, values: Iterable[Any], found: set[float]) -> set[float]:
    """The marks of the tensors in ``values`` that require a gradient, added to ``found``."""
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                found.add(lfp.mark(value))
        elif type(value) in {list, tuple}:
            marks_of(lfp, value, found)
    return found


def hand_over(lfp: LFPPass, values: Iterable[Any]) -> None:
    """Hand the deferred factors of ``values`` over to the result that they are moved into."""
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                lfp.take(value)
        elif type(value) in {list, tuple}:
            hand_over(lfp, value)
