"""LRP through in-place operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.ops import names
from altprop.ops.lrp.basics import attach_node, constant, dependent, depends, in_proportion, mixture, move
from altprop.ops.lrp.facts import (
    PROPORTIONAL,
    SavedTensor,
    TensorFacts,
    before_overwriting,
    facts_from,
    facts_of,
    set_facts,
)
from altprop.ops.lrp.nodes import Sum, nodes_of
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.products import add, sum_epsilon
from altprop.ops.names import OpRule


def overwrite(lrp: LRPPass, function: Callable[..., Any], target: Any, *args: Any, **kwargs: Any) -> Any:
    """Written values carry their relevance along."""
    if function.__name__ == "__setitem__" and _is_written(target, *args):
        return None
    sources = dependent((target, *args, *kwargs.values()))
    before_overwriting(target)
    if not sources:
        return constant(function, target, *args, **kwargs)
    nodes = nodes_of(sources) if lrp.reports else ()
    result = function(target, *args, **kwargs)
    set_facts(target, facts_from(sources))
    lrp.watch_move(function, target, nodes)
    return result


def _is_written(target: Tensor, index: Any, value: Any) -> bool:
    """Whether ``value`` is that part of the target already: Python's ``x[i] += y`` ends with ``x[i] = x[i]``."""
    if not isinstance(value, Tensor) or not value._is_view():
        return False
    part: Tensor = constant(target.__getitem__, index)
    same = part.data_ptr() == value.data_ptr() and part.shape == value.shape and part.stride() == value.stride()
    return same and part._is_view()


def twin_of(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The out-of-place form of ``function``; None if there is none.

    Example:
        >>> twin_of(torch.Tensor.index_add_).__name__, twin_of(torch.Tensor.mul_).__name__
        ('index_add', 'mul')
    """
    name = function.__name__
    name = f"__{name[3:]}" if name in names.IN_PLACE_OPERATORS else name.rstrip("_")
    name = _TWINS.get(name, name)
    return next((getattr(place, name) for place in (Tensor, torch, F) if hasattr(place, name)), None)


_TWINS = {"__div__": "__truediv__"}


def in_place(rule: OpRule) -> OpRule:
    """``rule`` for in-place forms: computed out of place from a copy of x, then written back into x."""

    @wraps(rule)
    def in_place_rule(lrp: LRPPass, function: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        twin = twin_of(function)
        if twin is None:
            raise RuntimeError(
                f"LRP cannot follow {function.__name__}, which works in place and has no form that does not: write it "
                f"out of place."
            )
        before_overwriting(x)
        if not dependent((x, *args, *kwargs.values())):
            return constant(function, x, *args, **kwargs)
        old = move(lrp, torch.clone, x)
        args = tuple(old if value is x else value for value in args)
        result = rule(lrp, twin, old, *args, **kwargs)
        if result is NotImplemented:
            return result
        if result.shape != x.shape or not torch.can_cast(result.dtype, x.dtype):
            function(x, *args, **kwargs)  # gives x another shape, or raises torch's own error
        x.copy_(result)
        set_facts(
            x, facts_from([result], nonnegative=facts_of(result).nonnegative) if depends(result) else TensorFacts()
        )
        return x

    return in_place_rule


def fallback(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """No rule: the gradient times the input."""
    if names.overwrites(function):
        return _fallback_in_place(lrp, function, *args, **kwargs)
    if not dependent((*args, *kwargs.values())):
        return constant(function, *args, **kwargs)
    return in_proportion(lrp, function, args, kwargs)


_fallback_in_place = in_place(mixture)


def reshaped_in_place(lrp: LRPPass, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A reshape in place: relevance passes unchanged."""
    if not depends(x):
        return _as_it_was(function, x, *args, **kwargs)
    facts = facts_from([x], nonnegative=facts_of(x).nonnegative)
    _as_it_was(function, x, *args, **kwargs)
    set_facts(x, facts)
    return x


def _as_it_was(function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    # Autograd counts a change of shape as one of values, which it is not.
    with torch.autograd.grad_mode._unsafe_preserve_version_counter(x):
        return function(x, *args, **kwargs)


RESHAPES_IN_PLACE = ("squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_", "as_strided_")


def with_out(rule: OpRule) -> OpRule:
    """``rule``, extended to calls with ``out=``."""

    @wraps(rule)
    def written_out(lrp: LRPPass, function: Callable[..., Any], *args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = rule(lrp, function, *args, **kwargs)
        if out is None or result is NotImplemented:
            return result
        if isinstance(out, Tensor):
            return overwrite(lrp, Tensor.copy_, out, result)
        return type(result)([overwrite(lrp, Tensor.copy_, *pair) for pair in zip(out, result, strict=True)])

    return written_out


def add_in_place(lrp: LRPPass, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """a += b: in proportion to each operand's contribution, R_a = a R / (z + ε·sign z)."""
    inputs = dependent((a, b))
    simple = isinstance(b, Tensor) and b.is_floating_point() and b is not a and not args and not kwargs
    part_of_a_constant = a._is_view() and not depends(a)
    if not inputs or not simple or part_of_a_constant or lrp.gradients or not a.is_floating_point():
        return _added_in_place(lrp, function, a, b, *args, **kwargs)
    old = before_overwriting(a, copy=True)
    assert old is not None
    node = Sum([(depends(a), SavedTensor(old)), (depends(b), SavedTensor(b))], sum_epsilon(lrp, function))
    nonnegative = len(inputs) == 2 and facts_of(a).nonnegative and facts_of(b).nonnegative
    facts = facts_from(inputs, consumer=PROPORTIONAL, nonnegative=nonnegative)
    a.detach().add_(b.detach())
    connected = attach_node(lrp, function, node, a, [b] if depends(b) else [], facts)
    node.set_output(connected)
    return connected


_added_in_place = in_place(add)
