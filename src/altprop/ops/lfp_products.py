"""LFP's rules for products, in the wide sense: the credit of the result is shared among its factors.

A factor that does not depend on the input is a weight: it takes no part of the credit. What holds for a product of two
holds for a function that is homogeneous of degree k, so that x·∂z/∂x sums to k·z: its gradient is divided by k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from altprop.ops.credit import half_to, share, share_by
from altprop.ops.lfp_basics import activation, mixture, move, ordinary, secant_of
from altprop.ops.lfp_pass import LFPPass
from altprop.ops.names import OpRule

_NUMBERS = {int, float}


def _activations(lfp: LFPPass, values: Any) -> int:
    """How many activations there are in ``values``, and in sequences in it."""
    count = 0
    for value in values:
        if isinstance(value, Tensor):
            count += lfp.is_activation(value)
        elif type(value) in {list, tuple}:
            count += _activations(lfp, value)
    return count


def _shared(lfp: LFPPass, value: Any, part: float) -> Any:
    """:meth:`LFPPass.operand`, of which an activation takes only ``part`` of the credit."""
    if type(value) in {list, tuple}:
        return type(value)(_shared(lfp, item, part) for item in value)
    if part == 1.0 or not isinstance(value, Tensor) or not lfp.is_activation(value):
        return lfp.operand(value)
    return share(lfp.settle(value), part)


def _times_number(lfp: LFPPass, function: Callable[..., Any], a: Tensor, b: Any, factor: float) -> Any:
    """A number as a factor: the deferred ε is scaled as the values are."""
    a = lfp.settle_spikes(a)
    epsilon = lfp.take(a) * factor
    return lfp.defer(function(a, b), epsilon)


def elementwise_product(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a · b: half of the credit to each of two activations; all of it to one activation times a weight or constant."""
    if type(b) in _NUMBERS and not kwargs and lfp.is_activation(a):
        return _times_number(lfp, function, a, b, abs(b))
    part = 0.5 if lfp.is_activation(a) and lfp.is_activation(b) else 1.0
    return function(_shared(lfp, a, part), _shared(lfp, b, part), **kwargs)


def quotient(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a / b: half of the *reward* to each; the divisor's gradient points the other way, hence the sign."""
    if type(b) in _NUMBERS and b and not kwargs and lfp.is_activation(a):
        return _times_number(lfp, function, a, b, 1.0 / abs(b))
    if not lfp.is_activation(b):
        return function(lfp.operand(a), lfp.operand(b), **kwargs)
    part = 0.5 if lfp.is_activation(a) else 1.0
    return function(_shared(lfp, a, part), share(lfp.settle(b), -part), **kwargs)


def power(lfp: LFPPass, function: Callable[..., Any], base: Any, exponent: Any) -> Any:
    """a ** b: an activation of the base or of the exponent; if both are activations, half of the reward to each."""
    if function in _REFLECTED:
        base, exponent, function = exponent, base, torch.pow
    if isinstance(base, Tensor) and type(exponent) in _NUMBERS and exponent == 1:
        return move(lfp, function, base, exponent)
    of_base, of_exponent = lfp.is_activation(base), lfp.is_activation(exponent)
    if not of_exponent:
        return activation(lfp, function, base, exponent)
    if not of_base:
        return secant_of(lfp, exponent, lambda value: function(lfp.operand(base), value))
    constant = base.detach(), exponent.detach()
    halves = (
        secant_of(lfp, base, lambda value: function(value, constant[1])),
        secant_of(lfp, exponent, lambda value: function(constant[0], value)),
    )
    return share(halves[0], 0.5) * 0.5 + share(halves[1], 0.5) * 0.5 if NotImplemented not in halves else NotImplemented


_REFLECTED = {Tensor.__rpow__}


def matrix_product(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A B: the ε rule, and half of the credit to each of two activations (a weight takes no half)."""
    factors = args[:2] if function in _WITH_WEIGHT else args
    count = _activations(lfp, factors)
    if count < 2:
        return mixture(lfp, function, *args, **kwargs)
    shared = [_shared(lfp, value, 1.0 / count) for value in factors]
    return lfp.defer(function(*shared, *lfp.operands(args[len(factors) :]), **kwargs), lfp.epsilon)


_WITH_WEIGHT: set[Any] = set()


def added_product(
    lfp: LFPPass, function: Callable[..., Any], b: Any, a: Any, w: Any, *args: Any, **kwargs: Any
) -> Any:
    """b + a w: a weighted sum if w is a weight (Hugging Face's Conv1D); two activations share by halves."""
    name = function.__name__.rstrip("_")
    if name == "lerp":
        return _interpolation(lfp, function, b, a, w)
    if not lfp.is_activation(a) or not lfp.is_activation(w):
        sign = -1.0 if name == "addcdiv" and lfp.is_activation(w) else 1.0
        if sign > 0 and isinstance(b, Tensor) and name == "addmm" and lfp.is_activation(a):
            a, w, b = lfp.enter(a, w, b)
            return lfp.defer(function(b, a, w, *args, **kwargs), lfp.epsilon)
        taken = (lfp.operand(b), _shared(lfp, a, sign), _shared(lfp, w, sign))
    else:
        taken = (lfp.operand(b), _shared(lfp, a, 0.5), _shared(lfp, w, -0.5 if name == "addcdiv" else 0.5))
    return lfp.defer(function(*taken, *args, **kwargs), lfp.epsilon)


def _interpolation(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, w: Any) -> Any:
    """a + w·(b − a): a mixture; with a computed w, a sum whose second part is a product."""
    if not lfp.is_activation(w):
        return mixture(lfp, function, a, b, w)
    if not lfp.is_activation(a) and not lfp.is_activation(b):
        return mixture(lfp, function, a, b, w)
    a, b, w = lfp.operands((a, b, w))
    z = function(a, b, w)
    return lfp.defer(half_to(z, a) if a.requires_grad else share(z, 0.5), lfp.epsilon)


def square_form(lfp: LFPPass, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A sum of products of the input with itself: each factor has half of the credit."""
    return lfp.defer(function(share(lfp.settle(x), 0.5), *lfp.operands(args), **kwargs), lfp.epsilon)


def matrix_quotient(place: int) -> OpRule:
    """The rule for A⁻¹B with B in this place: half of the *reward* to each, as in :func:`quotient`."""

    def matrix_quotient(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A⁻¹B: half of the *reward* to each; the divisor's gradient points the other way, hence the sign."""
        part = 1.0 / max(_activations(lfp, args), 1)
        if function.__name__ == "cholesky_solve":
            other = -part / 2  # A = L Lᵀ, and it is L that is given
        else:
            other = -part
        taken = (_shared(lfp, value, part if index == place else other) for index, value in enumerate(args))
        return lfp.defer(function(*taken, **kwargs), lfp.epsilon)

    return matrix_quotient


def homogeneous(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """z of any degree in x: credit in proportion to x·∂z/∂x, which sums to a multiple of z."""
    if torch.compiler.is_compiling():
        return NotImplemented
    try:
        with forward_ad.dual_level(), torch.enable_grad():
            duals = function(*_dual(lfp, args), **{key: _dual(lfp, (value,))[0] for key, value in kwargs.items()})
            sums = [forward_ad.unpack_dual(z).tangent for z in _tensors(duals)]
    except (NotImplementedError, RuntimeError):
        return NotImplemented
    result = function(*lfp.operands(args), **{key: lfp.operands(value) for key, value in kwargs.items()})
    parts = [_part(z, total) for z, total in zip(_tensors(result), sums, strict=True)]
    if isinstance(result, Tensor):
        return lfp.defer(parts[0], lfp.epsilon)
    return lfp.defer(type(result)(parts), lfp.epsilon)


def _dual(lfp: LFPPass, values: Any) -> Any:
    """Each activation as a dual number whose direction is the activation itself."""
    duals = []
    for value in values:
        if type(value) in {list, tuple}:
            value = _dual(lfp, value)
        elif isinstance(value, Tensor):
            constant = value.detach()
            value = forward_ad.make_dual(constant, constant.clone()) if lfp.is_activation(value) else constant
        duals.append(value)
    return type(values)(duals)


def _tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _part(z: Tensor, total: Tensor | None) -> Tensor:
    if total is None or not z.requires_grad:
        return z
    known = (total != 0) & total.isfinite()
    return share_by(z, torch.where(known, z.detach() / torch.where(known, total, 1), 1.0))


def product_with_log(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any) -> Any:
    """a · φ(b), φ a logarithm: a product of two activations, or an activation of b."""
    of_a, of_b = lfp.is_activation(a), lfp.is_activation(b)
    if not of_b:
        return function(lfp.operand(a), lfp.operand(b))
    constant = a.detach() if isinstance(a, Tensor) else a
    if not of_a:
        return secant_of(lfp, b, lambda value: function(lfp.operand(a), value))
    through_b = secant_of(lfp, b, lambda value: function(constant, value))
    through_a = function(lfp.operand(a), b.detach())
    return share(through_a, 0.5) * 0.5 + share(through_b, 0.5) * 0.5


def cosine_similarity(
    lfp: LFPPass, function: Callable[..., Any], a: Tensor, b: Tensor, dim: int = 1, eps: float = 1e-8
) -> Any:
    """a·b / (|a| |b|): half of the reward to the product, half to the two lengths, which divide."""
    return NotImplemented


def attention(
    lfp: LFPPass,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """softmax(q kᵀ) v: half to v; of the other half, which the softmax passes on, half to each of q and k.

    What is a weight or a constant takes nothing. The function's own backward does the rest, so that fused kernels stay
    in use.
    """
    scores = lfp.is_activation(query) + lfp.is_activation(key)
    half = 0.5 if scores and lfp.is_activation(value) else 1.0
    query, key = (_shared(lfp, tensor, half / max(scores, 1)) for tensor in (query, key))
    return lfp.defer(function(query, key, _shared(lfp, value, half), *lfp.operands(args), **kwargs), lfp.epsilon)
