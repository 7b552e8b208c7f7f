"""How LFP hands credit back through each torch function: the table, then the rules it names.

A rule is ``rule(lfp, function, *arguments)``. It computes what ``function(*arguments)`` computes, through the nodes of
:mod:`altprop.ops.credit`. To teach LFP a function, write such a rule (or choose one below) and add a line to the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.nn.activations import sign, step
from altprop.ops import names
from altprop.ops.credit import (
    defer,
    deferred,
    enter,
    is_parameter,
    scale,
    secant,
    secant_denominator,
    settle,
    settle_spikes,
    share,
)
from altprop.ops.interceptor import Interceptor
from altprop.ops.multi_head_attention import multi_head_attention_parts
from altprop.ops.names import OpRule


@dataclass(frozen=True)
class LFPSettings:
    """What the rules need to know of :class:`altprop.LFP`: the meaning of each field is told there."""

    epsilon: float
    minimum_scale: float = 0.0
    gamma: float = 0.0


# ---------------------------------------------------------------------------------------------------------------------
# The table is built at the end of the file, from these lines.


def _table() -> dict[str | Callable[..., Any], OpRule]:
    return {
        # z = W a + b, and whatever else mixes values: credit in proportion to contributions
        **dict.fromkeys(names.WEIGHTED_SUMS, weighted_sum),
        **dict.fromkeys(names.TRANSPOSED_CONVOLUTIONS, weighted_sum),
        **dict.fromkeys(names.NORMALISATIONS, mixture),
        **dict.fromkeys(names.MIXTURES, mixture),
        **dict.fromkeys((*names.SAMPLERS, "var", "bilinear", "embedding_bag"), mixture),
        **dict.fromkeys(("addr", "addcmul", "addcdiv", "lerp"), mixture),
        **dict.fromkeys(("addmm", "addmv", "addbmm", "baddbmm"), added_product),
        "embedding": embedding,
        # values that only move keep their credit; the winner of a contest (max pool, ReLU) takes it all
        **dict.fromkeys(names.MOVES, move),
        **dict.fromkeys(names.MOVING_ATTRIBUTES, move),
        **dict.fromkeys(names.CONTESTS, move),
        **dict.fromkeys(names.OVERWRITES, overwrite),
        # a' = φ(z): credit passes unchanged, whether φ has a derivative or not
        **dict.fromkeys(names.ACTIVATIONS, activation),
        step: activation,
        sign: activation,
        **dict.fromkeys(("neg", "__neg__"), move),  # a deferred factor does not know the sign
        "prelu": prelu,
        "glu": gated_linear_unit,
        **dict.fromkeys(names.DROPOUTS, dropout),
        # products of two activations: half of the credit to each
        **dict.fromkeys(names.ELEMENTWISE_PRODUCTS, elementwise_product),
        **dict.fromkeys(names.QUOTIENTS, quotient),
        **dict.fromkeys(names.MATRIX_PRODUCTS, matrix_product),
        "scaled_dot_product_attention": attention,
        "multi_head_attention_forward": multi_head_attention,
        # in-place arithmetic, as its out-of-place twin
        **{name: in_place(twin, mixture) for name, twin in names.IN_PLACE_MIXTURES.items()},
        **{name: in_place(twin, elementwise_product) for name, twin in names.IN_PLACE_PRODUCTS.items()},
        **{name: in_place(twin, quotient) for name, twin in names.IN_PLACE_QUOTIENTS.items()},
        # the ordinary gradient is the rule
        **dict.fromkeys(names.SOFTMAXES, ordinary),
        **dict.fromkeys(names.SOFT_MAXIMA, ordinary),
        **dict.fromkeys((*names.OBJECTIVES, *names.DISTANCES), ordinary),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The rules.


def operand(lfp: LFPSettings, value: Any) -> Any:
    """What an operation takes in: an activation with its factor settled, or a parameter whose update is scaled."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return value
    return scale(value, lfp.minimum_scale) if is_parameter(value) else settle(value)


def operands(lfp: LFPSettings, values: Any) -> Any:
    """:func:`operand` for every value of a sequence, and of sequences in it."""
    if type(values) in {list, tuple}:
        return type(values)(operands(lfp, value) for value in values)
    return operand(lfp, values)


def weight(lfp: LFPSettings, value: Any) -> Any:
    """A weight or bias of a layer: a parameter, or the leaf that ``torch.func.functional_call`` puts in its place."""
    if isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
        return scale(value, lfp.minimum_scale)
    return operand(lfp, value)


def ordinary(lfp: LFPSettings, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The ordinary gradient."""
    return function(*operands(lfp, args), **{key: operands(lfp, value) for key, value in kwargs.items()})


def weighted_sum(
    lfp: LFPSettings,
    function: Callable[..., Any],
    a: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """z = W a + b by LFP-ε: a :func:`mixture`, in fewer steps because most of the time goes here."""
    return defer(function(*enter(a, w, b, lfp.minimum_scale), *args, **kwargs), lfp.epsilon)


def mixture(lfp: LFPSettings, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """LFP-ε: credit in proportion to each input's contribution; the update |w| · a · R / (z + ε·sign z)."""
    return defer(ordinary(lfp, function, *args, **kwargs), lfp.epsilon)


def activation(lfp: LFPSettings, function: Callable[..., Any], z: Tensor, *args: Any, **kwargs: Any) -> Any:
    """a = φ(z): the reward passes unchanged, so g_z = g_a · φ(z) / (z + ε·sign z)."""
    if not z.requires_grad:
        return function(z, *args, **kwargs)
    z = settle_spikes(z)
    value = z.detach()
    denominator = secant_denominator(value, deferred(z) or lfp.epsilon)
    a = function(value, *args, **kwargs)
    return secant(z, z if a is value else a, denominator)


def move(lfp: LFPSettings, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values that move unchanged carry their credit, and a deferred factor, along."""
    factors = _factors(args, set())
    if kwargs:
        factors = _factors(kwargs.values(), factors)
    if len(factors) == 1 and None not in factors:
        return defer(function(*args, **kwargs), factors.pop() or 0.0)
    return ordinary(lfp, function, *args, **kwargs) if factors else function(*args, **kwargs)


def _factors(values: Any, found: set[float | None]) -> set[float | None]:
    """The deferred ε of each tensor in ``values``; None stands for a parameter."""
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                found.add(None if is_parameter(value) else deferred(value))
        elif type(value) in {list, tuple}:
            _factors(value, found)
    return found


def overwrite(lfp: LFPSettings, function: Callable[..., Any], target: Any, *args: Any, **kwargs: Any) -> Any:
    """Values written into ``target`` settle first, unless they lack the very factor that ``target`` lacks."""
    factors = _factors(args, set()) | _factors(kwargs.values(), set())
    if factors <= {deferred(target)}:
        return function(target, *args, **kwargs)
    return function(target, *operands(lfp, args), **{key: operands(lfp, value) for key, value in kwargs.items()})


def embedding(
    lfp: LFPSettings, function: Callable[..., Any], indices: Tensor, table: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """An embedding is a weighted sum over a one-hot input: z = w, and the update is |w| · R / (w + ε·sign w)."""
    if not table.requires_grad:
        return function(indices, table, *args, **kwargs)
    padding_index, max_norm, *rest = (*args, None, None)[: max(2, len(args))]
    padding_index, max_norm = kwargs.pop("padding_idx", padding_index), kwargs.pop("max_norm", max_norm)
    if max_norm is not None:
        # Renormalising changes the table in place, so it has to come before the scaling saves the table.
        F.embedding(indices, table.detach(), padding_index, max_norm, *rest[:1], **kwargs)
    return defer(function(indices, weight(lfp, table), padding_index, None, *rest, **kwargs), lfp.epsilon)


def prelu(lfp: LFPSettings, function: Callable[..., Any], z: Tensor, slope: Tensor) -> Any:
    """PReLU: an activation whose slope learns too, by |slope| times its ordinary gradient."""
    if not z.requires_grad:
        return mixture(lfp, function, z, slope)
    z = settle_spikes(z)
    denominator = secant_denominator(z.detach(), deferred(z) or lfp.epsilon)
    return secant(z, function(z.detach(), weight(lfp, slope)), denominator)


def gated_linear_unit(lfp: LFPSettings, function: Callable[..., Any], z: Tensor, dim: int = -1) -> Any:
    """GLU: a · σ(b), a product of two activations."""
    if not z.requires_grad:
        return function(z, dim)
    a, b = settle(z).chunk(2, dim)
    return share(a, 0.5) * share(activation(lfp, torch.sigmoid, b), 0.5)


def dropout(
    lfp: LFPSettings,
    function: Callable[..., Any],
    a: Tensor,
    p: float = 0.5,
    training: bool = True,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The kept values, scaled by 1/(1 − p), keep their credit; a deferred ε is scaled like them."""
    a = settle_spikes(a)
    kept = 1.0 - p if training and p < 1.0 else 1.0
    epsilon = deferred(a) / kept
    return defer(function(a, p, training, *args, **kwargs), epsilon)


def _takes_half(lfp: LFPSettings, *factors: Any) -> bool:
    """Whether there are two activations among ``factors``, so that each gets half of the credit."""
    return sum(isinstance(f, Tensor) and f.requires_grad and not is_parameter(f) for f in factors) > 1


def elementwise_product(lfp: LFPSettings, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a · b: half of the credit to each of two activations; all of it to one activation times a weight or constant."""
    halves = _takes_half(lfp, a, b)
    a, b = operand(lfp, a), operand(lfp, b)
    return function(share(a, 0.5), share(b, 0.5), **kwargs) if halves else function(a, b, **kwargs)


def quotient(lfp: LFPSettings, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a / b: half of the *reward* to each; the divisor's gradient points the other way, hence the sign."""
    halves = _takes_half(lfp, a, b)
    a, b = operand(lfp, a), operand(lfp, b)
    return function(share(a, 0.5), share(b, -0.5), **kwargs) if halves else function(a, b, **kwargs)


def matrix_product(lfp: LFPSettings, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A B: the ε rule, and half of the credit to each of two activations (a weight takes no half)."""
    factors = [value for value in args if isinstance(value, Tensor)]
    if not _takes_half(lfp, *factors):
        return mixture(lfp, function, *args, **kwargs)
    part = 1.0 / sum(value.requires_grad and not is_parameter(value) for value in factors)
    shared = [_shared(lfp, value, part) for value in args]
    return defer(function(*shared, **kwargs), lfp.epsilon)


def _shared(lfp: LFPSettings, value: Any, part: float) -> Any:
    value, was_activation = operand(lfp, value), isinstance(value, Tensor) and not is_parameter(value)
    return share(value, part) if was_activation and value.requires_grad else value


def added_product(
    lfp: LFPSettings, function: Callable[..., Any], b: Any, a: Any, w: Any, *args: Any, **kwargs: Any
) -> Any:
    """b + a w: a weighted sum if w is a weight (Hugging Face's Conv1D); two activations share by halves."""
    if isinstance(w, nn.Parameter) and not is_parameter(a):
        a, w, b = enter(a, w, b, lfp.minimum_scale)
        return defer(function(settle(b), a, w, *args, **kwargs), lfp.epsilon)
    if not _takes_half(lfp, a, w):
        return mixture(lfp, function, b, a, w, *args, **kwargs)
    return defer(function(operand(lfp, b), _shared(lfp, a, 0.5), _shared(lfp, w, 0.5), *args, **kwargs), lfp.epsilon)


def attention(
    lfp: LFPSettings,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """softmax(q kᵀ) v: half to v; of the other half, which the softmax passes on, half to each of q and k.

    The function's own backward does the rest, so that fused kernels stay in use.
    """
    query, key, value = (
        share(operand(lfp, tensor), part) if tensor.requires_grad else tensor
        for tensor, part in ((query, 0.25), (key, 0.25), (value, 0.5))
    )
    return defer(function(query, key, value, *operands(lfp, args), **kwargs), lfp.epsilon)


def in_place(twin: str, rule: OpRule) -> OpRule:
    """A rule for ``x.twin_(y)``: compute out of place from a copy of x, which is about to be lost; write into x."""
    function = getattr(torch, twin)

    def in_place_rule(lfp: LFPSettings, original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        factors = _factors((x, *args), set())
        if not factors:
            return original(x, *args, **kwargs)
        if rule is mixture and factors == {0.0}:
            return defer(original(x, *args, **kwargs), lfp.epsilon)
        copy = defer(x.clone(), deferred(x)) if x.requires_grad else x.clone()
        result = rule(lfp, function, copy, *args, **kwargs)
        return defer(x.copy_(result), deferred(result))

    return in_place_rule


def multi_head_attention(
    lfp: LFPSettings,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """``nn.MultiheadAttention`` reaches an interceptor as one call: compute its parts, each by its own rule."""
    with Interceptor(LFP_TABLE, lfp, unknown=lambda name: None):
        return multi_head_attention_parts(query, key, value, *args, **kwargs)


# ---------------------------------------------------------------------------------------------------------------------
# Modules that are one operation.


def activation_module(lfp: LFPSettings, forward: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """A module that is an activation, whatever it is made of: the reward passes unchanged."""
    if not (isinstance(z, Tensor) and z.requires_grad):
        return mixture_module(lfp, forward, z, *args, **kwargs)
    z = settle_spikes(z)
    denominator = secant_denominator(z.detach(), deferred(z) or lfp.epsilon)
    with _all_ordinary(lfp):
        a = forward(z.detach().clone(), *args, **kwargs)
    return secant(z, a, denominator)


def mixture_module(lfp: LFPSettings, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A module that mixes values (a normalisation), whatever it is made of: LFP-ε on the whole."""
    with _all_ordinary(lfp):
        return defer(forward(*operands(lfp, args), **kwargs), lfp.epsilon)


MODULE_RULES: dict[str, OpRule] = {"activation": activation_module, "mixture": mixture_module}


def _all_ordinary(lfp: LFPSettings) -> Interceptor:
    return Interceptor(_Always(ordinary), lfp, unknown=lambda name: None)


class _Always(dict[Callable[..., Any] | str, OpRule]):
    """A table with one rule for every function."""

    def __init__(self, rule: OpRule) -> None:
        super().__init__()
        self._rule = rule

    def get(self, key: object, default: object = None) -> OpRule:
        return self._rule


LFP_TABLE = names.resolve(_table())
