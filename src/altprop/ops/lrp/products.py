"""LRP through sums and products of activations, and through attention."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from altprop.ops.linear_maps import Bilinear, Columns, LinearMap, Matrix, Rows
from altprop.ops.lrp.activations import rescaled
from altprop.ops.lrp.basics import (
    attach_node,
    constant,
    dependent,
    depends,
    homogeneous,
    in_proportion,
    mixture,
    move,
    ordinary,
    weighted_sum,
)
from altprop.ops.lrp.facts import ANYWHERE, PROPORTIONAL, SavedTensor, facts_from, facts_of, set_facts
from altprop.ops.lrp.layer import Layer
from altprop.ops.lrp.nodes import Elementwise, Halves, Pass, RelevanceNode, Softmax, Sum, connect
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.names import OpRule


def add(lrp: LRPPass, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """z = a + b: in proportion to each operand's contribution, R_a = a R / (z + ε·sign z)."""
    inputs = dependent((a, b))
    if len(inputs) == 1 and is_number(b, 0.0) and depends(a):
        return move(lrp, torch.clone, a)
    simple = all(isinstance(term, Tensor) and term.is_floating_point() for term in (a, b)) and not args and not kwargs
    if not inputs or not simple or lrp.gradients:
        return mixture(lrp, function, a, b, *args, **kwargs)
    return _sum_of(lrp, function, a, b, constant(function, a, b))


def subtract(lrp: LRPPass, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """z = a − b: in proportion to each operand's contribution; a itself if b is the number 0."""
    if depends(a) and is_number(b, 0.0):
        return move(lrp, torch.clone, a)
    return mixture(lrp, function, a, b, *args, **kwargs)


def _sum_of(lrp: LRPPass, function: Callable[..., Any], a: Tensor, b: Tensor, z: Tensor) -> Tensor:
    """z = a + b with a :class:`Sum` node on it."""
    inputs = dependent((a, b))
    node = Sum([(depends(term), SavedTensor(term)) for term in (a, b)], sum_epsilon(lrp, function))
    nonnegative = all(depends(term) and facts_of(term).nonnegative for term in (a, b))
    facts = facts_from(inputs, consumer=PROPORTIONAL, nonnegative=nonnegative)
    connected = attach_node(lrp, function, node, z, inputs, facts)
    node.set_output(connected)
    return connected


def sum_epsilon(lrp: LRPPass, function: Callable[..., Any]) -> float:
    """The stabiliser of a sum: the composite's, if it has a rule for it."""
    rule = lrp.rule_for(lrp.layer(function), "sum")
    return lrp.epsilon if rule is None else float(rule.epsilon)


def is_number(value: Any, number: float) -> bool:
    """Whether ``value`` is a plain number equal to ``number``."""
    return isinstance(value, int | float) and value == number


def elementwise_product(lrp: LRPPass, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a · b: half of the relevance to each of two activations; all of it to one activation times a constant."""
    inputs = dependent((a, b))
    if not inputs or lrp.gradients:
        return ordinary(lrp, function, a, b, **kwargs)
    if any(isinstance(factor, Tensor | complex) and _is_complex(factor) for factor in (a, b)):
        return in_proportion(lrp, function, (a, b), kwargs, parts=[1.0 / len(inputs)] * len(inputs))
    if len(inputs) == 1 and is_number(b, 1.0):
        return move(lrp, torch.clone, inputs[0])
    if len(inputs) == 1 or a is b:
        return rescaled(lrp, function, inputs[0], a, b, **kwargs)
    z = constant(function, a, b, **kwargs)
    node = Halves([a.shape, b.shape])
    return attach_node(lrp, function, node, z, inputs, facts_from(inputs, consumer=ANYWHERE))


def _is_complex(factor: Tensor | complex) -> bool:
    return factor.is_complex() if isinstance(factor, Tensor) else isinstance(factor, complex)


def quotient(lrp: LRPPass, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a / b: all to a, the divisor is taken as a constant; all to b if a is one."""
    inputs = dependent((a, b))
    if not inputs or lrp.gradients:
        return ordinary(lrp, function, a, b, **kwargs)
    if any(isinstance(term, Tensor | complex) and _is_complex(term) for term in (a, b)):
        b = b.detach() if depends(a) and isinstance(b, Tensor) else b
        return in_proportion(lrp, function, (a, b), kwargs) if depends(a) else NotImplemented
    if is_number(b, 1.0) and not kwargs:
        return move(lrp, torch.clone, a)
    return rescaled(lrp, function, inputs[0], a, b, **kwargs)


def matrix_quotient(place: int) -> OpRule:
    """The rule of A⁻¹ B, where B is the operand at ``place``: all to B, A is taken as a constant; to A if B is one."""

    def matrix_quotient_rule(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A⁻¹ B: all to B, with A as a constant; all to A if B is a constant."""
        if len(args) > place and depends(args[place]):
            args = tuple(a if i == place else a.detach() if isinstance(a, Tensor) else a for i, a in enumerate(args))
        return homogeneous(lrp, function, *args, **kwargs)

    return matrix_quotient_rule


def matrix_product(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A B: half of the relevance to each of two activations, in proportion (AttnLRP, eq. 15); x W is a linear layer."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return constant(function, *args, **kwargs)
    if len(inputs) == 1 and function.__name__ in _PRODUCTS and not kwargs:
        a, b = (args[1], args[0]) if function.__name__ == "__rmatmul__" else args
        product = _layer_product(lrp, function, a, b, None, function, args, {})
        if product is not None:
            return product
    if len(inputs) == 1 and function.__name__ in {"einsum", "tensordot", "inner"}:
        product = _bilinear_layer(lrp, function, inputs[0], args, kwargs)
        if product is not None:
            return product
    if lrp.gradients:
        return ordinary(lrp, function, *args, **kwargs)
    return in_proportion(lrp, function, args, kwargs, parts=[1.0 / len(inputs)] * len(inputs))


def _bilinear_layer(
    lrp: LRPPass, function: Callable[..., Any], x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A product of x and one weight as a linear layer; None if it is none."""
    flat, structure = tree_flatten(args)
    places = [place for place, value in enumerate(flat) if isinstance(value, Tensor)]
    weights = [place for place in places if flat[place] is not x]
    if len(places) != 2 or len(weights) != 1 or flat[weights[0]].dim() < 2 or not is_weight(flat[weights[0]]):
        return None

    def product(x: Tensor, weight: Tensor) -> Tensor:
        filled = [weight if place in weights else x if place in places else value for place, value in enumerate(flat)]
        made: Tensor = function(*tree_unflatten(filled, structure), **kwargs)
        return made

    layer = lrp.layer(function)
    layer.kind = nn.Linear
    operands = (x, flat[weights[0]], None)
    return weighted_sum(lrp, layer, Bilinear(product, x.shape), operands, function, *args, **kwargs)


_PRODUCTS = {"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv"}


def _layer_product(
    lrp: LRPPass, called: Callable[..., Any], a: Tensor, b: Tensor, bias: Tensor | None, function: Callable[..., Any],
    args: tuple[Any, ...], kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    """a b + bias, the value of ``function``, as a linear layer, if one of the two is a weight; None if none is."""
    x, weight, on_the_left = (a, b, False) if depends(a) else (b, a, True)
    if weight.dim() < 2 or not is_weight(weight):
        return None
    layer = lrp.layer(called)
    layer.kind = nn.Linear
    if x.dim() == 1:
        rows = move(lrp, torch.unsqueeze, x, 0)
        linear_map: LinearMap = Matrix() if on_the_left else Columns()

        def one_row(*args: Any, **kwargs: Any) -> Tensor:
            made: Tensor = function(*args, **kwargs)
            return made.unsqueeze(0)

        one = weighted_sum(lrp, layer, linear_map, (rows, weight, bias), one_row, *args, **kwargs)
        return move(lrp, torch.squeeze, one, 0)
    linear_map = Rows() if on_the_left else Columns()
    return weighted_sum(lrp, layer, linear_map, (x, weight, bias), function, *args, **kwargs)


def is_weight(factor: Tensor) -> bool:
    """Whether a factor that does not depend on the input is a weight: a matrix, or any parameter or part of one."""
    root = factor if factor._base is None else factor._base
    of_parameters = isinstance(root, nn.Parameter) or root.requires_grad
    return of_parameters or (factor.dim() == 2 and not hasattr(factor, _ATTENTION))


_ATTENTION = "_altprop_attention"
"""Marks attention weights that are taken as constants, with what they are of: they are no weights of a layer."""


def followed(lrp: LRPPass, output: Tensor, model: nn.Module) -> Tensor:
    """The model's output, reconnected if it is a softmax that was treated as constant attention weights."""
    scores, z = getattr(output, _ATTENTION, (None, None))
    if scores is None or output.requires_grad:
        return output
    node = Pass()
    node.before = z
    connected = connect(node, output.clone(), scores)
    set_facts(connected, facts_from([scores], consumer=ANYWHERE))
    lrp.add(Layer("", model, "softmax", nn.Softmax), node)
    return connected


def added_product(
    lrp: LRPPass, function: Callable[..., Any], a: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1
) -> Any:
    """β a + α x y: a linear layer where one factor is a weight, else a sum of a and a product."""
    inputs, factors = dependent((a, x, y)), dependent((x, y))
    scales = {"beta": beta, "alpha": alpha}
    if not inputs:
        return constant(function, a, x, y, **scales)
    if len(factors) == 1 and function.__name__.rstrip("_") in {"addmm", "addmv", "baddbmm"}:
        layer = _added_layer(lrp, function, a, x, y, beta, alpha)
        if layer is not None:
            return layer
    if lrp.gradients:
        return ordinary(lrp, function, a, x, y, **scales)
    parts = [1.0] * (len(inputs) - len(factors)) + [1.0 / max(len(factors), 1)] * len(factors)
    return in_proportion(lrp, function, (a, x, y), scales, parts)


def _added_layer(
    lrp: LRPPass, function: Callable[..., Any], a: Tensor, x: Tensor, y: Tensor, beta: float, alpha: float
) -> Any:
    if depends(a):
        # A sum of two: the product's part of it goes through the layer.
        layer = None if lrp.gradients else _layer_product(lrp, function, x, y, None, torch.matmul, (x, y), {})
        if layer is None:
            return None
        terms = [rescaled(lrp, torch.mul, t, t, s) if s != 1 else t for t, s in ((a, beta), (layer, alpha))]
        z = constant(function, a, x, y, beta=beta, alpha=alpha)
        return _sum_of(lrp, function, terms[0], terms[1], z)
    original = (a, x, y)
    bias = None if not beta else a if beta == 1 else constant(torch.mul, a, beta)
    if alpha != 1:
        scaled = constant(torch.mul, y if depends(x) else x, alpha)
        x, y = (x, scaled) if depends(x) else (scaled, y)
    scales = {"beta": beta, "alpha": alpha}
    return _layer_product(lrp, function, x, y, bias, function, original, scales)


def product_with_bias(
    lrp: LRPPass, function: Callable[..., Any], x: Any, weight: Any, bias: Any, *args: Any, **kwargs: Any
) -> Any:
    """x W + b where W or b depends on the input: half of the product's part to each of two activations."""
    inputs, factors = dependent((x, weight, bias)), dependent((x, weight))
    if not inputs or lrp.gradients:
        return ordinary(lrp, function, x, weight, bias, *args, **kwargs)
    parts = [1.0 / max(len(factors), 1)] * len(factors) + [1.0] * (len(inputs) - len(factors))
    return in_proportion(lrp, function, (x, weight, bias, *args), kwargs, parts)


def product_added(lrp: LRPPass, function: Callable[..., Any], a: Any, x: Any, y: Any, **scales: Any) -> Any:
    """a + v x y, entry by entry, or an outer product: a sum, and half of the product's part to each factor."""
    inputs, factors = dependent((a, x, y)), dependent((x, y))
    if not inputs or lrp.gradients:
        return ordinary(lrp, function, a, x, y, **scales)
    parts = [1.0] * (len(inputs) - len(factors)) + [1.0 / max(len(factors), 1)] * len(factors)
    return in_proportion(lrp, function, (a, x, y), scales, parts)


def quotient_added(lrp: LRPPass, function: Callable[..., Any], a: Any, x: Any, y: Any, **scales: Any) -> Any:
    """a + v x / y: a sum, of which the quotient's part goes to x; to y if x is constant."""
    if not dependent((a, x, y)) or lrp.gradients:
        return ordinary(lrp, function, a, x, y, **scales)
    if depends(x):
        return in_proportion(lrp, function, (a, x, y.detach()), scales)
    # y ∂z/∂y is minus the quotient.
    return in_proportion(lrp, function, (a, x, y), scales, parts=[*[1.0] * depends(a), *[-1.0] * depends(y)])


def bilinear(lrp: LRPPass, function: Callable[..., Any], x: Any, y: Any, weight: Any, bias: Any = None) -> Any:
    """Σ x_i W_ij y_j + b: the sum in proportion, the product's part in equal parts to the factors."""
    inputs, factors = dependent((x, y, weight, bias)), dependent((x, y, weight))
    if not inputs or lrp.gradients:
        return ordinary(lrp, function, x, y, weight, bias)
    parts = [1.0 / max(len(factors), 1)] * len(factors) + [1.0] * (len(inputs) - len(factors))
    return in_proportion(lrp, function, (x, y, weight, bias), {}, parts)


def softmax(
    lrp: LRPPass, function: Callable[..., Any], input: Tensor, dim: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """A softmax a hands back R_x = x (R − a Σ R) (AttnLRP, eq. 13); in CP-LRP it is a constant."""
    rule = lrp.rule_for(lrp.layer(function), "softmax") if depends(input) else None
    if not depends(input) or (lrp.gradients and rule is None):
        return ordinary(lrp, function, input, dim, *args, **kwargs)
    a = constant(function, input, dim, *args, **kwargs)
    if lrp.constant_attention and rule is None:
        setattr(a, _ATTENTION, (input, SavedTensor(input)))
        return a
    # Without a dim torch takes the first for outputs of 0, 1 and 3 dimensions, else the second.
    node: RelevanceNode = Softmax(SavedTensor(input), dim if dim is not None else int(input.dim() not in {0, 1, 3}))
    if rule is not None:
        node = Pass() if rule.passes else Elementwise(rule.relevance, SavedTensor(input), repr(rule))
    connected = attach_node(lrp, function, node, a, [input], facts_from([input], consumer=ANYWHERE, nonnegative=True))
    if isinstance(node, Softmax | Elementwise):
        node.set_output(connected)
    node.before = SavedTensor(input) if isinstance(node, Softmax) else None
    return connected


def attention(
    lrp: LRPPass,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """softmax(q kᵀ + mask) v: half to v; of the other half, which the softmax passes on, half to each of q and k.

    What does not depend on the input takes nothing. In CP-LRP all is v's. The function's own backward pass does the
    rest, so that fused kernels stay in use.
    """
    if lrp.constant_attention and not lrp.gradients:
        query, key = query.detach(), key.detach()
        attn_mask = None if attn_mask is None else attn_mask.detach()
    tensors = (query, key, value, attn_mask)
    if not dependent(tensors) or lrp.gradients:
        return ordinary(lrp, function, *tensors, *args, **kwargs)
    scores = [*map(depends, (query, key)), depends(attn_mask)]
    half = 1.0 / (any(scores) + depends(value))
    factor = half / max(sum(scores[:2]), 1)
    parts = [factor] * sum(scores[:2]) + [half] * depends(value) + [half] * scores[2]
    return in_proportion(lrp, function, (*tensors, *args), kwargs, parts)
