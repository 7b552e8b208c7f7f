"""How relevance flows back through sums and products of activations, and through attention."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from altprop.ops.linear_maps import Matrix
from altprop.ops.lrp_activations import activation
from altprop.ops.lrp_common import (
    constant,
    dependent,
    depends,
    finish,
    in_proportion,
    mixture,
    move,
    ordinary,
    transposed_weight,
    weighted_sum,
)
from altprop.ops.lrp_run import Run
from altprop.ops.relevance import Halves, Pass, Softmax, Sum
from altprop.ops.relevance_flow import OTHER, PROPORTIONAL, Kept, derived, flow_of


def add(run: Run, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """z = a + b: a :func:`mixture`, in fewer steps because residual networks are made of it."""
    inputs = dependent((a, b))
    simple = all(isinstance(term, Tensor) and term.is_floating_point() for term in (a, b)) and not args and not kwargs
    if not inputs or not simple or run.gradients:
        return mixture(run, function, a, b, *args, **kwargs)
    terms = [(depends(term), Kept(term)) for term in (a, b)]
    call = Sum(terms, sum_epsilon(run, function))
    nonnegative = all(depends(term) and flow_of(term).nonnegative for term in (a, b))
    flow = derived(inputs, use=PROPORTIONAL, nonnegative=nonnegative)
    connected = finish(run, function, call, constant(function, a, b), inputs, flow)
    call.set_output(connected)
    return connected


def sum_epsilon(run: Run, function: Callable[..., Any]) -> float:
    """The stabiliser of a sum: the composite's, if it has a rule for it."""
    rule = run.rule_for(run.layer(function), "sum")
    return run.epsilon if rule is None else float(rule.epsilon)


def elementwise_product(run: Run, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a · b: half of the relevance to each of two activations; all of it to one activation times a constant."""
    inputs = dependent((a, b))
    if not inputs or run.gradients:
        return ordinary(run, function, a, b, **kwargs)
    if len(inputs) == 1 or a is b:
        return _rescaled(run, function, inputs[0], a, b, **kwargs)
    z = constant(function, a, b, **kwargs)
    call = Halves([a.shape, b.shape])
    return finish(run, function, call, z, inputs, derived(inputs, use=OTHER))


def quotient(run: Run, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a / b: all to a, the divisor is taken as a constant; all to b if a is one."""
    inputs = dependent((a, b))
    if not inputs or run.gradients:
        return ordinary(run, function, a, b, **kwargs)
    return _rescaled(run, function, inputs[0], a, b, **kwargs)


def _rescaled(run: Run, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """An activation times or divided by something: it keeps its relevance."""
    z = constant(function, *args, **kwargs)
    return finish(run, function, Pass(x.shape), z, [x], derived([x], use=OTHER))


def matrix_product(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A B: half of the relevance to each of two activations, in proportion (AttnLRP, eq. 15); x W is a linear layer."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs or run.gradients:
        return ordinary(run, function, *args, **kwargs)
    if function.__name__ in {"matmul", "__matmul__", "mm"} and not kwargs:
        x, w = args
        if depends(x) and not depends(w) and w.dim() == 2:
            return weighted_sum(run, function, Matrix(), x, transposed_weight(w), None, x, w)
    return in_proportion(run, function, args, kwargs, parts=[1.0 / len(inputs)] * len(inputs))


def added_product(run: Run, function: Callable[..., Any], a: Any, x: Any, y: Any, **scales: Any) -> Any:
    """a + x y: a linear layer where y is a weight, else a sum and a product."""
    if scales or function.__name__ == "addbmm" or not dependent((x, y)):
        return mixture(run, function, a, x, y, **scales)
    if not depends(a) and depends(x) and not depends(y) and y.dim() == 2 and x.dim() == 2 and a.dim() == 1:
        return weighted_sum(run, function, Matrix(), x, transposed_weight(y), a, a, x, y)
    return add(run, torch.add, a, matrix_product(run, torch.matmul, x, y))


def gated_linear_unit(run: Run, function: Callable[..., Any], z: Tensor, dim: int = -1) -> Any:
    """GLU: a · σ(b), a product of two activations."""
    if not depends(z) or run.gradients:
        return ordinary(run, function, z, dim)
    a, b = move(run, torch.chunk, z, 2, dim)
    return elementwise_product(run, torch.mul, a, activation(run, torch.sigmoid, b))


def softmax(run: Run, function: Callable[..., Any], input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A softmax a hands back R_x = x (R − a Σ R) (AttnLRP, eq. 13); in CP-LRP it is a constant."""
    if not depends(input) or run.gradients:
        return ordinary(run, function, input, dim, *args, **kwargs)
    a = constant(function, input, dim, *args, **kwargs)
    if run.constant_attention:
        return a
    # Without a dim torch takes the first for outputs of 0, 1 and 3 dimensions, else the second.
    call = Softmax(Kept(input), dim if dim is not None else int(input.dim() not in {0, 1, 3}))
    connected = finish(run, function, call, a, [input], derived([input], use=OTHER, nonnegative=True))
    call.set_output(connected)
    return connected


def attention(
    run: Run, function: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """softmax(q kᵀ) v: half to v; of the other half, which the softmax passes on, half to each of q and k.

    In CP-LRP all to v. The function's own backward pass does the rest, so that fused kernels stay in use.
    """
    if run.gradients or not dependent((query, key, value)):
        return ordinary(run, function, query, key, value, *args, **kwargs)
    if run.constant_attention:
        return in_proportion(run, function, (query.detach(), key.detach(), value, *args), kwargs)
    parts = [part for tensor, part in ((query, 0.25), (key, 0.25), (value, 0.5)) if depends(tensor)]
    args, kwargs = _constants(args), {name: _constants((value,))[0] for name, value in kwargs.items()}
    return in_proportion(run, function, (query, key, value, *args), kwargs, parts)


def _constants(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.detach() if isinstance(value, Tensor) else value for value in values)
