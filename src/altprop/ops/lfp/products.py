"""LFP's rules for products in a wide sense: the factors share the credit of the result.

A factor that does not depend on the input is a weight: it takes no part of the credit. What holds for a product of two
holds for a function that is homogeneous of degree k, so that x·∂z/∂x sums to k·z: its gradient is divided by k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from altprop.ops import names
from altprop.ops.lfp.basics import activation, mixture, move, secant_of
from altprop.ops.lfp.credit import half_to, scale_gradient, scale_gradient_by
from altprop.ops.lfp.pass_ import LFPPass
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
    """:meth:`LFPPass.operand`, with only ``part`` of the credit for an activation."""
    if type(value) in {list, tuple}:
        return type(value)(_shared(lfp, item, part) for item in value)
    if part == 1.0 or not isinstance(value, Tensor) or not lfp.is_activation(value):
        return lfp.operand(value)
    return scale_gradient(lfp.apply_factor(value), part)


def _times_number(lfp: LFPPass, function: Callable[..., Any], a: Tensor, b: Any, factor: float) -> Any:
    """A number as a factor: the deferred ε is scaled as the values are."""
    a = lfp.apply_spike_factor(a)
    epsilon = lfp.take(a) * factor
    return lfp.defer(function(a, b), epsilon)


def elementwise_product(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a · b: half of the credit to each of two activations; all of it to one activation times a weight or constant."""
    if type(b) in _NUMBERS and not kwargs and lfp.is_activation(a):
        return _times_number(lfp, function, a, b, abs(b))
    part = 0.5 if lfp.is_activation(a) and lfp.is_activation(b) else 1.0
    return function(_shared(lfp, a, part), _shared(lfp, b, part), **kwargs)


def quotient(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a / b: half of the reward to each; the divisor's gradient points the other way, hence the sign."""
    if kwargs.get("rounding_mode"):
        exact = lfp.defer(quotient(lfp, torch.div, a, b), 0.0)
        plain = [value.detach() if isinstance(value, Tensor) else value for value in (a, b)]
        return secant_of(lfp, exact, lambda value: function(*plain, **kwargs))
    if type(b) in _NUMBERS and b and not kwargs and lfp.is_activation(a):
        return _times_number(lfp, function, a, b, 1.0 / abs(b))
    if not lfp.is_activation(b):
        return function(lfp.operand(a), lfp.operand(b), **kwargs)
    part = 0.5 if lfp.is_activation(a) else 1.0
    return function(_shared(lfp, a, part), scale_gradient(lfp.apply_factor(b), -part), **kwargs)


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
    if base.is_complex() or exponent.is_complex():
        return NotImplemented
    of_base = secant_of(lfp, base, lambda value: function(value, exponent.detach()))
    return of_base * 0.5 + secant_of(lfp, exponent, lambda value: function(base.detach(), value)) * 0.5


_REFLECTED = {Tensor.__rpow__}


def reflected_quotient(lfp: LFPPass, function: Callable[..., Any], b: Tensor, a: Any) -> Any:
    """a / b, called as a method of b: the reward passes unchanged, or by halves if both are activations."""
    if lfp.is_activation(a):
        return quotient(lfp, torch.div, a, b)
    return secant_of(lfp, b, lambda value: function(value, lfp.operand(a)))


def matrix_product(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A B: the ε rule, and half of the credit to each of two activations (a weight takes no half)."""
    factors = args[: _FACTORS.get(function.__name__, len(args))]
    count = _activations(lfp, factors)
    if count < 2:
        return mixture(lfp, function, *args, **kwargs)
    shared = [_shared(lfp, value, 1.0 / count) for value in factors]
    return lfp.defer(function(*shared, *lfp.operands(args[len(factors) :]), **kwargs), lfp.epsilon)


# Operands after these are biases.
_FACTORS = dict.fromkeys((*names.WEIGHTED_SUMS, *names.TRANSPOSED_CONVOLUTIONS), 2) | {"bilinear": 3}


def embedding_bag(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Sums of a table's rows: a mixture; half of the credit to each if rows and their weights are both activations.

    Rows that are looked up by data are activations, as an embedding's are.
    """
    indices, table = args[:2] if args[1].is_floating_point() else args[1::-1]
    activations = _activations(lfp, (*args, *kwargs.values()))
    is_weight = table.requires_grad and not lfp.is_activation(table)
    looked_up = activations == 1 and is_weight and not lfp.is_constant(indices)
    part = 1.0 / (activations + looked_up or 1)
    share = _part_of if looked_up else _shared
    taken = [share(lfp, value, part) if isinstance(value, Tensor) else value for value in args]
    shared = {key: _shared(lfp, value, part) for key, value in kwargs.items()}
    return lfp.defer(function(*taken, **shared), lfp.epsilon)


def added_product(lfp: LFPPass, function: Callable[..., Any], b: Any, a: Any, w: Any, *args: Any, **kwargs: Any) -> Any:
    """b + a w: a weighted sum if w is a weight (Hugging Face's Conv1D); of two activations each gets half."""
    name = function.__name__.rstrip("_")
    if not lfp.is_activation(a) or not lfp.is_activation(w):
        sign = -1.0 if name == "addcdiv" and lfp.is_activation(w) else 1.0
        if sign > 0 and isinstance(b, Tensor) and name == "addmm" and lfp.is_activation(a):
            a, w, b = lfp.layer_operands(a, w, b)
            return lfp.defer(function(b, a, w, *args, **kwargs), lfp.epsilon)
        taken = (lfp.operand(b), _shared(lfp, a, sign), _shared(lfp, w, sign))
    else:
        taken = (lfp.operand(b), _shared(lfp, a, 0.5), _shared(lfp, w, -0.5 if name == "addcdiv" else 0.5))
    return lfp.defer(function(*taken, *args, **kwargs), lfp.epsilon)


def interpolation(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, weight: Any) -> Any:
    """a + w·(b − a): a mixture; with a computed w, a sum whose second part is a product."""
    if not lfp.is_activation(weight) or not (lfp.is_activation(a) or lfp.is_activation(b)):
        return mixture(lfp, function, a, b, weight)
    a, b, weight = lfp.operands((a, b, weight))
    z = function(a, b, weight)
    return lfp.defer(half_to(z, a) if a.requires_grad else scale_gradient(z, 0.5), lfp.epsilon)


def _of_degree(part: float, doc: str, name: str) -> OpRule:
    def rule(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        shared = {key: _shared(lfp, value, part) for key, value in kwargs.items()}
        return lfp.defer(function(*(_shared(lfp, value, part) for value in args), **shared), lfp.epsilon)

    rule.__name__, rule.__doc__ = name, doc
    return rule


square_form = _of_degree(
    0.5, "A sum of products of the input with itself: each factor has half of the credit.", "square_form"
)
inverse = _of_degree(-1.0, "Functions of degree −1, such as A⁻¹: the gradient points against the reward.", "inverse")


def homogeneous(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """z of any degree in x: credit in proportion to x·∂z/∂x, which sums to a multiple of z."""
    if torch.compiler.is_compiling():
        return NotImplemented
    function, args = _by_place(function, args, kwargs)
    return _in_proportion(lfp, function, args, _places(lfp, args))


def reduction(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A sum or mean in proportion; a maximum or minimum to its winner; a product in equal parts."""
    how = next(value for value in (*args, *kwargs.values()) if isinstance(value, str))
    rule = {"sum": mixture, "mean": mixture, "prod": homogeneous}.get(how, move)
    return rule(lfp, function, *args, **kwargs)


def matrix_quotient(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A⁻¹B: half of the reward to each, in proportion to x·∂z/∂x."""
    if torch.compiler.is_compiling():
        return NotImplemented
    function, args = _by_place(function, args, kwargs)
    # One contribution per operand, with the others constant; the forward values are computed once.
    halves = [_in_proportion(lfp, function, args, [place]) for place in _places(lfp, args)]
    if any(half is NotImplemented for half in halves):
        return NotImplemented
    if isinstance(halves[0], Tensor):
        return lfp.defer(_joined(halves), lfp.epsilon)
    return lfp.defer(type(halves[0])([_joined(parts) for parts in zip(*halves, strict=True)]), lfp.epsilon)


def _joined(shares: Any) -> Tensor:
    """The one value of them all; half of its reward to each of two, but all where only one has contributed."""
    live = [z for z in shares if hasattr(z.grad_fn, "contributed")]
    if not live:
        return shares[0]  # type: ignore[no-any-return]
    counts = torch.stack([z.grad_fn.contributed for z in live]).sum(0).clamp_min(1)
    first, *others = (scale_gradient_by(z, 1.0 / counts) for z in live)
    for other in others:
        first = first + (other - other.detach())
    return first


def _by_place(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """``function`` with all its arguments positional."""
    names_of, count = list(kwargs), len(args)
    if not kwargs:
        return function, args
    return (
        lambda *values: function(*values[:count], **dict(zip(names_of, values[count:], strict=True))),
        (*args, *kwargs.values()),
    )


def _places(lfp: LFPPass, args: tuple[Any, ...]) -> list[int]:
    return [place for place, value in enumerate(args) if _activations(lfp, (value,))]


def _in_proportion(lfp: LFPPass, function: Callable[..., Any], args: tuple[Any, ...], places: list[int]) -> Any:
    """The reward to the operands at these positions, in proportion to x·∂z/∂x; other activations are constants."""
    sums = _contributions(function, args, places)
    if sums is None:
        return NotImplemented
    taken = [
        lfp.operands(value) if place in places or not _activations(lfp, (value,)) else _constant(value)
        for place, value in enumerate(args)
    ]
    result = function(*taken)
    if isinstance(result, Tensor):
        return lfp.defer(_scaled(result, sums[0]), lfp.epsilon)
    return lfp.defer(type(result)([_scaled(z, total) for z, total in zip(result, sums, strict=True)]), lfp.epsilon)


def _contributions(
    function: Callable[..., Any], args: tuple[Any, ...], places: list[int]
) -> list[Tensor | None] | None:
    """Σ x·∂z/∂x for each output z, over these operands: the derivative of a backward pass by its seed."""
    leaves: list[Tensor] = []
    copies = [_leaf(value, leaves) if place in places else _constant(value) for place, value in enumerate(args)]
    try:
        result = function(*copies)
        return [_contribution(z, leaves) for z in ([result] if isinstance(result, Tensor) else result)]
    except (NotImplementedError, RuntimeError):
        return None


def _contribution(z: Any, leaves: list[Tensor]) -> Tensor | None:
    if not isinstance(z, Tensor) or not z.requires_grad:
        return None
    seed = torch.zeros_like(z, requires_grad=True)
    back = torch.autograd.grad(z, leaves, seed, allow_unused=True, create_graph=True)
    total = sum((x.detach() * g).sum() for x, g in zip(leaves, back, strict=True) if g is not None)
    return torch.autograd.grad(total, seed)[0] if isinstance(total, Tensor) else None


def _leaf(value: Any, leaves: list[Tensor]) -> Any:
    if type(value) in {list, tuple}:
        return type(value)(_leaf(item, leaves) for item in value)
    if not isinstance(value, Tensor) or not value.requires_grad:
        return value
    leaves.append(value.detach().clone().requires_grad_())
    return leaves[-1]


def _constant(value: Any) -> Any:
    if type(value) in {list, tuple}:
        return type(value)(_constant(item) for item in value)
    return value.detach() if isinstance(value, Tensor) else value


def _scaled(z: Any, total: Tensor | None) -> Any:
    if total is None or not z.requires_grad:
        return z
    known = (total.abs() > 1e-10 * z.detach().abs()) & total.isfinite()  # what is less is rounding
    scaled = scale_gradient_by(z, torch.where(known, z.detach() / torch.where(known, total, 1), 1))
    scaled.grad_fn.contributed = known  # type: ignore[union-attr]
    return scaled


def product_with_log(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any) -> Any:
    """a · φ(b), φ a logarithm: a product of two activations, or an activation of b."""
    of_a, of_b = lfp.is_activation(a), lfp.is_activation(b)
    if not of_b:
        return function(lfp.operand(a), lfp.operand(b))
    constant = a.detach() if isinstance(a, Tensor) else a
    if not of_a:
        return secant_of(lfp, b, lambda value: function(lfp.operand(a), value))
    through_b = secant_of(lfp, b, lambda value: function(constant, value))
    return function(lfp.operand(a), b.detach()) * 0.5 + through_b * 0.5


def attention(
    lfp: LFPPass,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """softmax(q kᵀ + mask) v: half to v; the other half is the softmax's, and of that half to each of q and k.

    What is a weight or a constant takes nothing, but a weight within the softmax learns from the softmax's half. The
    function's own backward does the rest, so that fused kernels stay in use.
    """
    factors = lfp.is_activation(query) + lfp.is_activation(key)
    half = 0.5 if (factors or lfp.is_activation(attn_mask)) and lfp.is_activation(value) else 1.0
    query, key = (
        _part_of(lfp, factor, half / factors if lfp.is_activation(factor) else half) for factor in (query, key)
    )
    mask = _part_of(lfp, attn_mask, half)
    return lfp.defer(function(query, key, _shared(lfp, value, half), mask, *args, **kwargs), lfp.epsilon)


def _part_of(lfp: LFPPass, value: Any, part: float) -> Any:
    """:meth:`LFPPass.operand`, with only ``part`` of the gradient, be it an activation's or a weight's."""
    taken = lfp.operand(value)
    return scale_gradient(taken, part) if part != 1.0 and isinstance(taken, Tensor) and taken.requires_grad else taken


_SCALES = {"layer_norm": 2, "group_norm": 2, "rms_norm": 2, "batch_norm": 3, "instance_norm": 3}
"""The place of the scale among a normalisation's arguments."""
_SCALE_FIRST = {torch.batch_norm, torch.instance_norm}


def normalisation(lfp: LFPPass, function: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """A mixture; if the scale is an activation too, a product of it and of what is normalised."""
    place = _SCALES.get(function.__name__, 0) - 1
    if function in _SCALE_FIRST:
        place = 0
    if place < 0 or len(args) <= place or not lfp.is_activation(args[place]) or not lfp.is_activation(x):
        return mixture(lfp, function, x, *args, **kwargs)
    taken = [_shared(lfp, value, 0.5) if i == place else lfp.operand(value) for i, value in enumerate(args)]
    return lfp.defer(function(_shared(lfp, x, 0.5), *taken, **kwargs), lfp.epsilon)
