"""How relevance flows back through what is written over something else."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from altprop.ops.lrp_common import constant, dependent, depends, finish, move
from altprop.ops.lrp_products import add, sum_epsilon
from altprop.ops.lrp_run import Run
from altprop.ops.names import OpRule
from altprop.ops.relevance import Sum
from altprop.ops.relevance_flow import PROPORTIONAL, Kept, before_overwriting, derived, flow_of, set_flow


def overwrite(run: Run, function: Callable[..., Any], target: Any, *args: Any, **kwargs: Any) -> Any:
    """Values written into ``target`` take their relevance along."""
    if not dependent((target, *args, *kwargs.values())):
        return constant(function, target, *args, **kwargs)
    if function.__name__ == "__setitem__" and _is_written(target, *args):
        return None
    sources = dependent((target, *args, *kwargs.values()))
    before_overwriting(target)
    result = function(target, *args, **kwargs)
    set_flow(target, derived(sources))
    return result


def _is_written(target: Tensor, index: Any, value: Any) -> bool:
    """Whether the value is that very part of the target: Python's ``x[i] += y`` ends with ``x[i] = x[i]``."""
    if not isinstance(value, Tensor) or not value._is_view():
        return False
    with torch.no_grad():
        part = target[index]
    same = part.data_ptr() == value.data_ptr() and part.shape == value.shape and part.stride() == value.stride()
    return same and part._is_view()


def in_place(twin: str, rule: OpRule) -> OpRule:
    """A rule for ``x.twin_(y)``: out of place from a copy of x, which is about to be lost; then written into x."""
    function = getattr(torch, twin)

    def in_place_rule(run: Run, original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        if not dependent((x, *args)):
            return constant(original, x, *args, **kwargs)
        before_overwriting(x)
        old = move(run, torch.clone, x)
        args = tuple(old if value is x else value for value in args)
        result = rule(run, function, old, *args, **kwargs)
        x.copy_(result)
        set_flow(x, derived([result], nonnegative=flow_of(result).nonnegative))
        return x

    return in_place_rule


def with_out(rule: OpRule) -> OpRule:
    """``rule``, for calls with ``out=`` too: the result is written into that tensor."""

    @wraps(rule)
    def written_out(run: Run, function: Callable[..., Any], *args: Any, out: Tensor | None = None, **kw: Any) -> Any:
        result = rule(run, function, *args, **kw)
        return result if out is None else overwrite(run, Tensor.copy_, out, result)

    return written_out


def add_in_place(run: Run, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """a += b: as :func:`add`, with one copy less than the other in-place operations."""
    inputs = dependent((a, b))
    simple = isinstance(b, Tensor) and b.is_floating_point() and b is not a and not args and not kwargs
    if not inputs or not simple or run.gradients or not a.is_floating_point():
        return in_place("add", add)(run, function, a, b, *args, **kwargs)
    old = before_overwriting(a, copy=True)
    assert old is not None
    call = Sum([(depends(a), Kept(old)), (depends(b), Kept(b))], sum_epsilon(run, function))
    nonnegative = len(inputs) == 2 and flow_of(a).nonnegative and flow_of(b).nonnegative
    flow = derived(inputs, use=PROPORTIONAL, nonnegative=nonnegative)
    a.detach().add_(b.detach())
    connected = finish(run, function, call, a, [b] if depends(b) else [], flow)
    call.set_output(connected)
    return connected
