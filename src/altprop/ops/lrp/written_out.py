"""Functions that LRP computes through other functions: gated units, losses and distances within a model."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.ops.lrp.activations import activation, normalisation
from altprop.ops.lrp.basics import attach_node, constant, dependent, depends, mixture, move, ordinary
from altprop.ops.lrp.facts import facts_from
from altprop.ops.lrp.nodes import Pass
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.products import add, elementwise_product, quotient, softmax
from altprop.ops.names import OpRule


def written_out(parts: Callable[..., Any]) -> OpRule:
    """A rule from ``parts(lrp, *args)``, which computes the function through other rules.

    The value is the function's own: another order of operations rounds otherwise.
    """

    @wraps(parts)
    def rule(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if lrp.gradients or not dependent((*args, *kwargs.values())):
            return ordinary(lrp, function, *args, **kwargs)
        made = parts(lrp, *args, **kwargs)
        if made is NotImplemented or not depends(made):
            return made
        return attach_node(lrp, function, Pass(), constant(function, *args, **kwargs), [made], facts_from([made]))

    return rule


@written_out
def gated_linear_unit(lrp: LRPPass, z: Tensor, dim: int = -1) -> Any:
    """GLU: a · σ(b), a product of two activations."""
    a, b = move(lrp, torch.chunk, z, 2, dim)
    return elementwise_product(lrp, torch.mul, a, activation(lrp, torch.sigmoid, b))


@written_out
def softmin(lrp: LRPPass, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The softmax of the negative."""
    return softmax(lrp, F.softmax, activation(lrp, torch.neg, input), dim, *args, **kwargs)


@written_out
def product_with_log(lrp: LRPPass, x: Any, y: Any) -> Any:
    """x · log y, a product of two activations."""
    return elementwise_product(lrp, torch.mul, x, _logarithm(lrp, y, torch.log))


@written_out
def product_with_log1p(lrp: LRPPass, x: Any, y: Any) -> Any:
    """x · log(1 + y), a product of two activations."""
    return elementwise_product(lrp, torch.mul, x, _logarithm(lrp, y, torch.log1p))


def _logarithm(lrp: LRPPass, y: Any, log: Callable[..., Any]) -> Any:
    return activation(lrp, log, y) if isinstance(y, Tensor) else float(log(torch.tensor(y)))


@written_out
def lerp(lrp: LRPPass, input: Tensor, end: Tensor, weight: Any) -> Any:
    """a + w (b − a): a mixture; if w is an activation, the product's part in halves."""
    if not depends(weight):
        return mixture(lrp, torch.lerp, input, end, weight)
    difference = mixture(lrp, torch.sub, end, input)
    return add(lrp, torch.add, input, elementwise_product(lrp, torch.mul, weight, difference))


@written_out
def cosine_similarity(lrp: LRPPass, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Any:
    """Σ x y / (‖x‖ ‖y‖): the sum of products in proportion, the norms as constants, as any divisor."""
    norm, other = (constant(torch.linalg.vector_norm, x, dim=dim).clamp(min=eps) for x in (x1, x2))
    products = elementwise_product(lrp, torch.mul, x1, x2)
    return quotient(lrp, torch.div, mixture(lrp, torch.sum, products, dim), norm * other)


def rms_norm(
    lrp: LRPPass, function: Callable[..., Any], input: Tensor, shape: Any, weight: Any = None, eps: Any = None
) -> Any:
    """x divided by its size; a product of two activations if the weight depends on the input."""
    if not depends(input) and not lrp.gradients:
        return mixture(lrp, function, input, shape, weight, eps)
    rule = _scaled_rms_norm if depends(weight) else normalisation
    return rule(lrp, function, input, shape, weight, eps)


@written_out
def _scaled_rms_norm(lrp: LRPPass, input: Any, shape: Any, weight: Tensor, eps: Any) -> Any:
    normalised = normalisation(lrp, F.rms_norm, input, shape, None, eps)
    return elementwise_product(lrp, torch.mul, normalised, weight)


def prelu(lrp: LRPPass, function: Callable[..., Any], input: Any, weight: Any) -> Any:
    """An activation; where the slope depends on the input too, negative values are a product of the two."""
    rule = _computed_slope if depends(weight) else activation
    return rule(lrp, function, input, weight)


@written_out
def _computed_slope(lrp: LRPPass, input: Tensor, weight: Tensor) -> Any:
    slope = weight if weight.dim() == 0 else move(lrp, Tensor.view, weight, (-1, *(1,) * max(input.dim() - 2, 0)))
    return move(lrp, torch.where, input.detach() > 0, input, elementwise_product(lrp, torch.mul, input, slope))


def _of_the_difference(loss: Callable[..., Tensor]) -> OpRule:
    """The rule of an elementwise loss φ(x − y)."""
    signature = inspect.signature(loss)

    @written_out
    def rule(lrp: LRPPass, *args: Any, **kwargs: Any) -> Any:
        """An elementwise loss: the difference in proportion, then an activation, then the mean."""
        settings = signature.bind(*args, **kwargs).arguments
        difference = mixture(lrp, torch.sub, settings.pop("input"), settings.pop("target"))
        reduction, weight = settings.pop("reduction", "mean"), settings.pop("weight", None)
        if settings.pop("size_average", None) is not None or settings.pop("reduce", None) is not None:
            return NotImplemented

        def phi(d: Tensor) -> Tensor:
            return loss(d, torch.zeros_like(d), reduction="none", **settings)

        losses = activation(lrp, phi, difference)
        if weight is not None:
            losses = elementwise_product(lrp, torch.mul, losses, weight)
        if reduction == "none":
            return losses
        if reduction == "mean" and weight is not None:
            return NotImplemented
        return mixture(lrp, torch.mean if reduction == "mean" else torch.sum, losses)

    return rule


mse_loss = _of_the_difference(F.mse_loss)
l1_loss = _of_the_difference(F.l1_loss)
smooth_l1_loss = _of_the_difference(F.smooth_l1_loss)
huber_loss = _of_the_difference(F.huber_loss)


@written_out
def cross_entropy(lrp: LRPPass, input: Tensor, target: Tensor, weight: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The mean of the log-softmax at the targets, through which relevance passes."""
    if args or target.is_floating_point() or kwargs.pop("label_smoothing", 0.0):
        return NotImplemented
    logarithms = activation(lrp, F.log_softmax, input, 1 if input.dim() > 1 else 0)
    return mixture(lrp, F.nll_loss, logarithms, target, weight, **kwargs)


@written_out
def kl_div(lrp: LRPPass, input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Σ t (log t − x): linear in x, in proportion; no rule if the target depends on the input too."""
    return NotImplemented if depends(target) else mixture(lrp, F.kl_div, input, target, *args, **kwargs)
