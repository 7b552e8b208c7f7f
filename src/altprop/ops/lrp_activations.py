"""How relevance flows back through activations and max pools."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from altprop.ops import names
from altprop.ops.lrp_common import constant, depends, finish, mixture, move
from altprop.ops.lrp_run import Run
from altprop.ops.relevance import AveragePool, Elementwise, Pass, average_pool, connect
from altprop.ops.relevance_flow import (
    OTHER,
    PROPORTIONAL,
    Flow,
    Kept,
    Rectified,
    before_overwriting,
    before_rectifying,
    derived,
    flow_of,
    set_flow,
)


def activation(run: Run, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """a = φ(z): relevance passes unchanged."""
    if not depends(z):
        return mixture(run, function, z, *args, **kwargs)
    in_place = _is_in_place(function, args, kwargs)
    return _activated(run, function, z, args, kwargs, in_place, function.__name__.rstrip("_") in _NONNEGATIVE)


def relu(run: Run, function: Callable[..., Any], input: Tensor, inplace: bool = False) -> Any:
    """a = z⁺: relevance passes unchanged."""
    if not depends(input):
        return constant(function, input, inplace) if inplace else constant(function, input)
    in_place = inplace or function.__name__.endswith("_")
    return _activated(run, function, input, (inplace,) if inplace else (), {}, in_place, True)


def _activated(
    run: Run,
    function: Callable[..., Any],
    z: Tensor,
    args: Any,
    kwargs: dict[str, Any],
    in_place: bool,
    nonnegative: bool,
) -> Any:
    layer = run.layer(function)
    rule = run.rule_for(layer, "activation")
    formula = None if rule is None or rule.passes else rule.relevance
    if run.gradients and rule is None:
        return _overwriting(function, z, args, kwargs, in_place)
    rectifier = layer.function in {"relu", "relu6"}
    kept_z = Kept(z) if formula else None
    flow = Flow(nonnegative, flow_of(z).beyond_first)
    flow_of(z).uses.append(Rectified(flow) if rectifier and not formula else OTHER)
    own = None
    if in_place:
        own = before_rectifying(z) if layer.function == "relu" else None
        before_overwriting(z)
    with torch.no_grad():
        a = function(z.detach(), *args, **kwargs)
    call = Pass() if formula is None or kept_z is None else Elementwise(formula, kept_z, repr(rule))
    connected = connect(call, z) if in_place else connect(call, a, z)
    if own is not None:
        own.was_rectified(connected)
    set_flow(connected, flow)
    if isinstance(call, Elementwise):
        call.set_output(connected)
    run.add(layer, call)
    return connected


def _is_in_place(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
    return function.__name__.endswith("_") or bool(args and args[-1] is True) or bool(kwargs.get("inplace"))


def _overwriting(function: Callable[..., Any], z: Tensor, args: Any, kwargs: dict[str, Any], in_place: bool) -> Any:
    """An activation that may work in place, with its ordinary gradient."""
    if in_place:
        before_overwriting(z)
    beyond = flow_of(z).beyond_first
    flow_of(z).uses.append(OTHER)
    a = function(z, *args, **kwargs)
    set_flow(a, Flow(beyond_first=beyond))
    return a


_NONNEGATIVE = {"sigmoid", "hardsigmoid", "softplus", "exp", "square", "abs", "relu6"}
"""Activations without negative values."""


def dropout(
    run: Run, function: Callable[..., Any], a: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    """In evaluation mode nothing happens; what a dropout of the model's own keeps and scales keeps its relevance."""
    if not training or not p:
        return a
    args = (p, training, True) if inplace else (p, training)
    if not depends(a):
        return constant(function, a, *args)
    return _activated(run, function, a, args, {}, inplace or function.__name__.endswith("_"), False)


def max_pool(run: Run, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The winner takes all, or the relevance goes back as through an average pool: as the composite says."""
    rule = run.rule_for(run.layer(function), "pool") if depends(x) else None
    if rule is None or not hasattr(rule, "epsilon"):
        return move(run, function, x, *args, **kwargs)
    result = constant(function, x, *args, **kwargs)
    z = result[0] if isinstance(result, tuple) else result
    call = AveragePool(x, average_pool(function.__name__, *args, **kwargs), rule.epsilon)
    connected = finish(run, function, call, z, [x], derived([x], use=PROPORTIONAL))
    flow_of(connected).nonnegative = flow_of(x).nonnegative
    return (connected, *result[1:]) if isinstance(result, tuple) else connected


MAX_POOLS = {name: name.replace("max", "avg") for name in names.CONTESTS if "max_pool" in name and "frac" not in name}
