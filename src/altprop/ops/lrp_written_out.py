"""Functions of torch that LRP writes out in others: gated units, losses and distances within a model."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.ops.lrp_activations import activation, normalisation
from altprop.ops.lrp_common import constant, dependent, depends, finish, mixture, move, ordinary
from altprop.ops.lrp_products import add, elementwise_product, quotient, softmax
from altprop.ops.lrp_run import Run
from altprop.ops.names import OpRule
from altprop.ops.relevance import Pass
from altprop.ops.relevance_flow import derived


def written_out(parts: Callable[..., Any]) -> OpRule:
    """A rule from ``parts(run, *args)``, which computes the same by the rules of its parts.

    The value is the function's own: another order of operations rounds otherwise.
    """

    @wraps(parts)
    def rule(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if run.gradients or not dependent((*args, *kwargs.values())):
            return ordinary(run, function, *args, **kwargs)
        made = parts(run, *args, **kwargs)
        if made is NotImplemented or not depends(made):
            return made
        return finish(run, function, Pass(), constant(function, *args, **kwargs), [made], derived([made]))

    return rule


@written_out
def gated_linear_unit(run: Run, z: Tensor, dim: int = -1) -> Any:
    """GLU: a · σ(b), a product of two activations."""
    a, b = move(run, torch.chunk, z, 2, dim)
    return elementwise_product(run, torch.mul, a, activation(run, torch.sigmoid, b))


@written_out
def softmin(run: Run, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The softmax of the negative."""
    return softmax(run, F.softmax, activation(run, torch.neg, input), dim, *args, **kwargs)


@written_out
def product_with_log(run: Run, x: Any, y: Any) -> Any:
    """x · log y, a product of two activations."""
    return elementwise_product(run, torch.mul, x, _logarithm(run, y, torch.log))


@written_out
def product_with_log1p(run: Run, x: Any, y: Any) -> Any:
    """x · log(1 + y), a product of two activations."""
    return elementwise_product(run, torch.mul, x, _logarithm(run, y, torch.log1p))


def _logarithm(run: Run, y: Any, log: Callable[..., Any]) -> Any:
    return activation(run, log, y) if isinstance(y, Tensor) else float(log(torch.tensor(y)))


@written_out
def lerp(run: Run, input: Tensor, end: Tensor, weight: Any) -> Any:
    """a + w (b − a): a mixture; if w is an activation, the product's part in halves."""
    if not depends(weight):
        return mixture(run, torch.lerp, input, end, weight)
    difference = mixture(run, torch.sub, end, input)
    return add(run, torch.add, input, elementwise_product(run, torch.mul, weight, difference))


@written_out
def cosine_similarity(run: Run, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Any:
    """Σ x y / (‖x‖ ‖y‖): the sum of products in proportion, the norms as constants, as any divisor."""
    norm, other = (constant(torch.linalg.vector_norm, x, dim=dim).clamp(min=eps) for x in (x1, x2))
    products = elementwise_product(run, torch.mul, x1, x2)
    return quotient(run, torch.div, mixture(run, torch.sum, products, dim), norm * other)


def rms_norm(
    run: Run, function: Callable[..., Any], input: Tensor, normalized_shape: Any, weight: Any = None, eps: Any = None
) -> Any:
    """x divided by its size; a product of two activations if the weight depends on the input."""
    rule = _scaled_rms_norm if depends(weight) else normalisation
    return rule(run, function, input, normalized_shape, weight, eps)


@written_out
def _scaled_rms_norm(run: Run, input: Any, normalized_shape: Any, weight: Tensor, eps: Any) -> Any:
    normalised = normalisation(run, F.rms_norm, input, normalized_shape, None, eps)
    return elementwise_product(run, torch.mul, normalised, weight)


def _of_the_difference(function: Callable[..., Tensor], **settings: Any) -> OpRule:
    """The rule of an elementwise loss φ(x − y)."""

    @written_out
    def rule(
        run: Run,
        input: Tensor,
        target: Tensor,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        *others: float,
        weight: Tensor | None = None,
        **named: float,
    ) -> Any:
        """The difference in proportion, then an activation, then the mean."""
        if size_average is not None or reduce is not None or (named.keys() | set()) - settings.keys():
            return NotImplemented
        given = dict(zip(settings, others, strict=False)) | named

        def phi(difference: Tensor) -> Tensor:
            return function(difference, torch.zeros_like(difference), reduction="none", **given)

        losses = activation(run, phi, mixture(run, torch.sub, input, target))
        if weight is not None:
            losses = elementwise_product(run, torch.mul, losses, weight)
        if reduction == "none":
            return losses
        if reduction == "mean" and weight is not None:
            return NotImplemented
        return mixture(run, torch.mean if reduction == "mean" else torch.sum, losses)

    return rule


mse_loss = _of_the_difference(F.mse_loss)
l1_loss = _of_the_difference(F.l1_loss)
smooth_l1_loss = _of_the_difference(F.smooth_l1_loss, beta=1.0)
huber_loss = _of_the_difference(F.huber_loss, delta=1.0)


@written_out
def cross_entropy(run: Run, input: Tensor, target: Tensor, weight: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A log-softmax, which passes, and the mean of what the targets pick of it."""
    if args or target.is_floating_point() or kwargs.pop("label_smoothing", 0.0):
        return NotImplemented
    logarithms = activation(run, F.log_softmax, input, 1 if input.dim() > 1 else 0)
    return mixture(run, F.nll_loss, logarithms, target, weight, **kwargs)


@written_out
def kl_div(run: Run, input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Σ t (log t − x), which is linear in x; unknown where the target depends on the input too."""
    return NotImplemented if depends(target) else mixture(run, F.kl_div, input, target, *args, **kwargs)
