"""LFP's variants for weighted sums z = W a + b: the γ rule, and the Hebbian and Oja updates.

Each computes z twice: once to teach the weights, and once, with the weights held constant, to hand credit back. One
node joins the two and sends each the credit it needs. What arrives there is g·z/(z + ε·sign z) = R / (z + ε·sign z),
because z's own factor is deferred to its successors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from altprop.ops import names
from altprop.ops.lfp.credit import secant_denominator
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.lfp.table import weighted_sum
from altprop.ops.linear_maps import per_channel
from altprop.ops.names import OpRule


def gamma_sum(
    lfp: LFPPass,
    function: Callable[..., Any],
    a: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """LFP-γ: credit flows through the γ-modified weights, the update is that of LFP-ε.

    With v⁺ = max(v, 0), v⁻ = min(v, 0), a positive output z_j > 0 distributes its reward over

        z'_j = Σ_i a_i⁺ (w + γw⁺)_ij + a_i⁻ (w + γw⁻)_ij + (b + γb⁺)_j

    in proportion to the summands, a negative one over the same with w⁺ and w⁻, b⁺ and b⁻ exchanged.
    """
    if lfp.is_activation(w):
        return weighted_sum(lfp, function, a, w, b, *args, **kwargs)
    a, weights, bias = lfp.layer_operands(a, w, b)
    if not a.requires_grad:
        return lfp.defer(function(a, weights, bias, *args, **kwargs), lfp.epsilon)
    z = function(a.detach(), weights, bias, *args, **kwargs)
    positive = a.clamp(min=0)
    negative = a - positive
    w, b = w.detach(), None if b is None else b.detach()
    w_up, w_down = w + lfp.gamma * w.clamp(min=0), w + lfp.gamma * w.clamp(max=0)
    b_up, b_down = (None, None) if b is None else (b + lfp.gamma * b.clamp(min=0), b + lfp.gamma * b.clamp(max=0))
    up = function(positive, w_up, b_up, *args, **kwargs) + function(negative, w_down, None, *args, **kwargs)
    down = function(positive, w_down, b_down, *args, **kwargs) + function(negative, w_up, None, *args, **kwargs)
    reward_over_g = secant_denominator(z.detach(), lfp.epsilon)
    to_up = torch.where(z > 0, reward_over_g / secant_denominator(up.detach(), lfp.epsilon), 0)
    to_down = torch.where(z < 0, reward_over_g / secant_denominator(down.detach(), lfp.epsilon), 0)
    return _deferred_join(lfp, _Gamma, z, up, down, to_up.detach(), to_down.detach())


def hebbian_sum(
    lfp: LFPPass,
    function: Callable[..., Any],
    a: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The Hebbian update Δw_ij = |w_ij| · a_i · z_j · R_j; credit flows by LFP-ε."""
    if lfp.is_activation(w):
        return weighted_sum(lfp, function, a, w, b, *args, **kwargs)
    z, strength = _two_sums(lfp, function, *lfp.layer_operands(a, w, b), args, kwargs)
    return _deferred_join(lfp, _Hebbian, *z, strength)


def oja_sum(
    lfp: LFPPass,
    function: Callable[..., Any],
    a: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Oja's update Δw_ij = |w_ij| · z_j · (a_i − z_j w_ij) · R_j: the Hebbian one with a decay that bounds the weights.

    The sum over samples (and positions) of z_j² R_j, times w_ij, is the decay. A bias is a weight from an input of 1.
    """
    if lfp.is_activation(w):
        return weighted_sum(lfp, function, a, w, b, *args, **kwargs)
    a, weights, bias = lfp.layer_operands(a, w, b)
    z, strength = _two_sums(lfp, function, a, weights, bias, args, kwargs)
    groups = kwargs.get("groups", args[3] if function in _TRANSPOSED_FUNCTIONS and len(args) > 3 else 1)
    layout = (function in _TRANSPOSED_FUNCTIONS, groups)
    return _deferred_join(lfp, _Oja, *z, strength, z[0].detach() * strength, weights, bias, layout)


_TRANSPOSED_FUNCTIONS = {function for name in names.TRANSPOSED_CONVOLUTIONS for function in names.functions(name)}


def _two_sums(
    lfp: LFPPass,
    function: Callable[..., Any],
    a: Tensor,
    w: Tensor,
    b: Tensor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """z for the credit, z for the weights, and z·(z + ε·sign z), which turns R/(z + ε·sign z) into z·R."""
    for_credit = function(a, w.detach(), None if b is None else b.detach(), *args, **kwargs)
    for_weights = function(a.detach(), w, b, *args, **kwargs)
    z = for_credit.detach()
    return (for_credit, for_weights), z * secant_denominator(z, lfp.epsilon)


def _deferred_join(lfp: LFPPass, node: type[Function], *args: Any) -> Any:
    z = node.apply(*args)
    # The tracer of torch 2.10 cannot mark what a node returns, but it can mark a view of it.
    return lfp.defer(z.view_as(z) if torch.compiler.is_compiling() else z, lfp.epsilon)


def weighted_sum_rule(update: str, gamma: float) -> OpRule | None:
    """The rule for weighted sums that these arguments of :class:`altprop.LFP` select; None for the default."""
    if gamma:
        return gamma_sum
    return {"reward": None, "hebbian": hebbian_sum, "oja": oja_sum}[update]


# Each node marks its first argument as dirty, so that it sits on that tensor itself: no copy, no view.


class _Gamma(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, up: Tensor, down: Tensor, to_up: Tensor, to_down: Tensor) -> Tensor:
        ctx.save_for_backward(to_up, to_down)
        ctx.mark_dirty(z)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        to_up, to_down = ctx.saved_tensors
        return g if ctx.needs_input_grad[0] else None, g * to_up, g * to_down, None, None


class _Hebbian(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, for_weights: Tensor, strength: Tensor) -> Tensor:
        ctx.save_for_backward(strength)
        ctx.mark_dirty(z)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (strength,) = ctx.saved_tensors
        return g if ctx.needs_input_grad[0] else None, g * strength, None


class _Oja(Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        for_weights: Tensor,
        strength: Tensor,
        decay: Tensor,
        w: Tensor,
        b: Tensor | None,
        layout: tuple[bool, int],
    ) -> Tensor:
        ctx.save_for_backward(strength, decay, w, b)
        ctx.layout = layout
        ctx.mark_dirty(z)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        strength, decay, w, b = ctx.saved_tensors
        transposed, groups = ctx.layout
        spatial = w.dim() - 2
        channels_last = (g * decay).movedim(-1 - spatial, -1)
        per_output = channels_last.reshape(-1, channels_last.shape[-1]).sum(0)
        to_w = -w * per_channel(per_output, w, transposed=transposed, groups=groups)
        to_b = None if b is None else -b * per_output
        return g if ctx.needs_input_grad[0] else None, g * strength, None, None, to_w, to_b, None
