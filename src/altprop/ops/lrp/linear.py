"""LRP through layers with weights and normalisations."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.ops.linear_maps import Matrix, convolution
from altprop.ops.lrp.activations import activation, normalisation
from altprop.ops.lrp.basics import attach_node, constant, depends, in_proportion, mixture, move, ordinary, weighted_sum
from altprop.ops.lrp.facts import TensorFacts, facts_of
from altprop.ops.lrp.layer import BatchNorm
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.products import add, elementwise_product, product_with_bias
from altprop.ops.lrp.written_out import written_out
from altprop.ops.names import OpRule


def linear(
    lrp: LRPPass, function: Callable[..., Any], input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Any:
    """By the composite's rule for the layer; if the weight is an activation too, half to each."""
    if depends(bias) and depends(input) and not depends(weight) and weight.dim() == 2:
        return _with_computed_bias(lrp, function, linear, input, weight, bias)
    if depends(weight) or depends(bias) or not depends(input):
        return product_with_bias(lrp, function, input, weight, bias)
    if input.dim() == 1:
        one = linear(lrp, function, move(lrp, torch.unsqueeze, input, 0), weight, bias)
        return move(lrp, torch.squeeze, one, 0)
    return weighted_sum(lrp, lrp.layer(function), Matrix(), (input, weight, bias), function, input, weight, bias)


def convolved(
    lrp: LRPPass,
    function: Callable[..., Any],
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """By the composite's rule for the layer; if the weight is an activation too, half to each."""
    if depends(bias) and depends(input) and not depends(weight):
        return _with_computed_bias(lrp, function, convolved, input, weight, bias, *args, **kwargs)
    if depends(weight) or depends(bias) or not depends(input):
        return product_with_bias(lrp, function, input, weight, bias, *args, **kwargs)
    if input.dim() < weight.dim():
        one = convolved(lrp, function, move(lrp, torch.unsqueeze, input, 0), weight, bias, *args, **kwargs)
        return move(lrp, torch.squeeze, one, 0)
    linear_map = convolution(function.__name__, weight, *args, **kwargs)
    operands = (input, weight, bias)
    return weighted_sum(lrp, lrp.layer(function), linear_map, operands, function, *operands, *args, **kwargs)


def _with_computed_bias(lrp: LRPPass, function: Callable[..., Any], rule: OpRule, *operands: Any, **kwargs: Any) -> Any:
    """A layer, by the composite's rule for it, and the sum with a bias that depends on the input too."""

    @written_out
    def parts(lrp: LRPPass, input: Tensor, weight: Tensor, bias: Tensor, *args: Any, **kwargs: Any) -> Any:
        bias = move(lrp, Tensor.view, bias, (-1, *(1,) * (weight.dim() - 2)))
        return add(lrp, torch.add, rule(lrp, function, input, weight, None, *args, **kwargs), bias)

    return parts(lrp, function, *operands, **kwargs)


def batch_norm(
    lrp: LRPPass,
    function: Callable[..., Any],
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    """Folded into the layer before it where possible; otherwise relevance passes, or by the composite's rule."""
    if function is torch.batch_norm:  # the same with the operands in another order, and a setting at the end
        order = (input, weight, bias, running_mean, running_var, training, momentum, eps)
        return batch_norm(lrp, F.batch_norm, *order)
    args = (input, running_mean, running_var, weight, bias, training, momentum, eps)
    if depends(weight) or depends(bias):
        return _scaled_batch_norm(lrp, function, *args)
    rule = lrp.rule_for(lrp.layer(function), "normalisation") if depends(input) else None
    if not depends(input) or (lrp.gradients and rule is None):
        return ordinary(lrp, function, *args)
    if running_mean is None or running_var is None or training:
        return normalisation(lrp, function, *args)
    if rule is not None and not rule.passes:
        return in_proportion(lrp, function, args, {})
    y = constant(function, *args)
    node = BatchNorm(input, (running_mean, running_var, eps), weight, bias, may_fold=rule is None)
    facts = TensorFacts(beyond_first=facts_of(input).beyond_first)
    connected = attach_node(lrp, function, node, y, [input], facts)
    node.set_output(connected)
    return connected


@written_out
def _scaled_batch_norm(
    lrp: LRPPass,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    """A scale or shift that depends on the input: what is normalised times the one, plus the other."""
    if training:
        running_mean = running_var = None  # the function itself updates them, once
    y = batch_norm(lrp, F.batch_norm, input, running_mean, running_var, None, None, training, momentum, eps)
    shape = (-1, *(1,) * (input.dim() - 2))
    if weight is not None:
        y = elementwise_product(lrp, torch.mul, y, move(lrp, Tensor.view, weight, shape))
    return y if bias is None else add(lrp, torch.add, y, move(lrp, Tensor.view, bias, shape))


def layer_norm(
    lrp: LRPPass,
    function: Callable[..., Any],
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    """In proportion to contributions, with the standard deviation as a constant (AttnLRP, section 3.3.3)."""
    rule = _rule(lrp, function, input)
    if not depends(input) and not lrp.gradients:
        return mixture(lrp, function, input, normalized_shape, weight, bias, eps)
    if lrp.gradients and rule is None:
        return ordinary(lrp, function, input, normalized_shape, weight, bias, eps)
    if rule is not None and rule.passes:
        return activation(lrp, function, input, normalized_shape, weight, bias, eps)
    dims = tuple(range(-len(tuple(normalized_shape)), 0))

    def linear_in_x(x: Tensor, _: Any, weight: Tensor | None, bias: Tensor | None, *__: Any) -> Tensor:
        normalised = _standardised(x, dims, eps)
        normalised = normalised if weight is None else normalised * weight
        return normalised if bias is None else normalised + bias

    args = (input, normalized_shape, weight, bias, eps)
    return in_proportion(lrp, function, args, {}, _parts(weight, bias), linear_in_x)


def group_norm(
    lrp: LRPPass,
    function: Callable[..., Any],
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    """As layer norm, over each group of channels: in proportion, with the standard deviation as a constant."""
    rule = _rule(lrp, function, input)
    if not depends(input) and not lrp.gradients:
        return mixture(lrp, function, input, num_groups, weight, bias, eps)
    if lrp.gradients and rule is None:
        return ordinary(lrp, function, input, num_groups, weight, bias, eps)
    if rule is not None and rule.passes:
        return activation(lrp, function, input, num_groups, weight, bias, eps)

    def linear_in_x(x: Tensor, _: Any, weight: Tensor | None, bias: Tensor | None, *__: Any) -> Tensor:
        grouped = x.reshape(len(x), num_groups, -1)
        return _per_channel(_standardised(grouped, (-1,), eps).view_as(x), weight, bias)

    args = (input, num_groups, weight, bias, eps)
    return in_proportion(lrp, function, args, {}, _parts(weight, bias), linear_in_x)


def instance_norm(
    lrp: LRPPass,
    function: Callable[..., Any],
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    """As layer norm, over each channel; with running statistics, as batch norm."""
    if function is torch.instance_norm:  # the same with the operands in another order, and a setting at the end
        order = (input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps)
        return instance_norm(lrp, F.instance_norm, *order)
    if not use_input_stats:
        return batch_norm(lrp, F.batch_norm, input, running_mean, running_var, weight, bias, False, momentum, eps)
    args = (running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    rule = _rule(lrp, function, input)
    if not depends(input) and not lrp.gradients:
        return mixture(lrp, function, input, *args)
    if lrp.gradients and rule is None:
        return ordinary(lrp, function, input, *args)
    if rule is not None and rule.passes:
        return activation(lrp, function, input, *args)

    def linear_in_x(x: Tensor, _: Any, __: Any, weight: Tensor | None, bias: Tensor | None, *___: Any) -> Tensor:
        return _per_channel(_standardised(x, tuple(range(2, x.dim())), eps), weight, bias)

    return in_proportion(lrp, function, (input, *args), {}, _parts(weight, bias), linear_in_x)


def _parts(weight: Tensor | None, bias: Tensor | None) -> list[float]:
    """The parts of input, scale and shift: a scale that is an activation gets half of the product's relevance."""
    product = [0.5, 0.5] if depends(weight) else [1.0]
    return [*product, 1.0] if depends(bias) else product


def _rule(lrp: LRPPass, function: Callable[..., Any], input: Tensor) -> Any:
    return lrp.rule_for(lrp.layer(function), "normalisation") if depends(input) else None


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + eps).detach()


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1, *(1,) * (x.dim() - 2))
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)
