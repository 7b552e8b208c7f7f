"""LFP's most frequent calls in few steps: layers, activations and moves of one tensor that is known already.

What is answered here gives what the general rule gives, to the bit; any other call goes on to that rule. Reading an
attribute of a tensor that torch computes (``requires_grad``, ``grad_fn``) costs as much as ten plain ones, so what can
be told from LFP's own marks is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import Parameter

from altprop.ops.lfp.credit import SPIKES, layer_operands, secant, secant_denominator
from altprop.ops.lfp.pass_ import MARK, LFPPass
from altprop.ops.names import OpRule

_PLAIN = {bool, int, float, str, type(None), torch.Size, torch.dtype, torch.device}
"""Types of arguments that hold no tensor."""

_BIAS = {Parameter, type(None)}


def layer(general: OpRule) -> OpRule:
    """:func:`~altprop.ops.lfp.table.weighted_sum` of an activation, or of the model's input, and parameters.

    Args:
        general: the rule for all other calls.
    """

    @wraps(general)
    def answered(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if is_compiling() or lfp.is_unusual or len(args) < 2:
            return general(lfp, function, *args, **kwargs)
        a, w, b = args[0], args[1], args[2] if len(args) > 2 else None
        epsilon = lfp.mark_at_sight(a)
        if epsilon is None or epsilon < SPIKES or type(w) is not Parameter or type(b) not in _BIAS:
            return general(lfp, function, *args, **kwargs)
        if not w.requires_grad:
            return general(lfp, function, *args, **kwargs)
        b_scaled = b if b is not None and b.requires_grad else None
        if lfp.acted is not None:
            lfp.acted(w)
            if b_scaled is not None:
                lfp.acted(b_scaled)
        if epsilon:
            a_taken, w, b_taken = layer_operands(a, w, b_scaled, epsilon, lfp.minimum_scale)
            lfp.pending.pop(id(a), None)
        else:
            a_taken, (_, w, b_taken) = a, layer_operands(None, w, b_scaled, 0.0, lfp.minimum_scale)
        z = function(a_taken, w, b if b_taken is None else b_taken, *args[3:], **kwargs)
        return lfp.leave(z, lfp.epsilon)

    return answered


def move(general: OpRule) -> OpRule:
    """:func:`~altprop.ops.lfp.basics.move` of one activation, to one result.

    Args:
        general: the rule for all other calls.
    """

    @wraps(general)
    def answered(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        mark = None if is_compiling() or lfp.is_unusual else _only_activation(lfp, args, kwargs)
        if mark is None:
            return general(lfp, function, *args, **kwargs)
        result = function(*args, **kwargs)
        if mark:
            lfp.pending.pop(id(args[0]), None)
        if type(result) is not Tensor or result is args[0]:
            return lfp.defer(result, mark)
        if result.requires_grad:
            return lfp.leave(result, mark)
        lfp.note_origin(result, of_input=True)
        return result

    return answered


def activation(general: OpRule) -> OpRule:
    """:func:`~altprop.ops.lfp.basics.activation` of one tensor.

    Args:
        general: the rule for all other calls.
    """

    @wraps(general)
    def answered(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        mark = None if is_compiling() or lfp.is_unusual else _only_activation(lfp, args, kwargs)
        if mark is None or mark == SPIKES:
            return general(lfp, function, *args, **kwargs)
        z = args[0]
        value = z.detach()
        if value.is_complex():
            return general(lfp, function, *args, **kwargs)
        denominator = secant_denominator(value, mark or lfp.epsilon)
        a = function(value, *args[1:], **kwargs)
        if mark:
            lfp.pending.pop(id(z), None)
        return lfp.leave(secant(z, z if a is value else a, denominator), 0.0)

    return answered


def _only_activation(lfp: LFPPass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """The mark of the first argument if it is an activation, no other holds a tensor, and none may say ``inplace``."""
    mark: float | None = getattr(args[0], MARK, None) if args else None
    if mark is None or mark < SPIKES:
        return None
    for value in args[1:]:
        if type(value) not in _PLAIN or value is True:
            return None
    if kwargs:
        for value in kwargs.values():
            if type(value) not in _PLAIN or value is True:
                return None
    return mark
