"""LFP through snntorch's spiking neurons: one autograd node for each neuron and time step.

A leaky integrate-and-fire neuron adds its input current to what is left of its membrane potential, and fires above θ:

    u_{t+1} = β·u_t + I_t − reset·θ,        s_t = 1 if u_{t+1} > θ, else 0

With R the reward at its spike plus that at its membrane, LFP divides by how far the membrane had to move, from zero to
u_t and on to where it would be without the reset. The divisor is positive: a rewarded neuron is driven up.

    ρ = R / (|u_t| + |u_{t+1} + reset·θ − u_t| + ε)
    Δw_i = |w_i| a_i ρ,    R_i = w_i a_i ρ,    R_{u_t} = β u_t ρ

In g = R / a, which is what flows backward, this is g_I = ρ and g_{u_t} = β·ρ; the factor of the weighted sum that made
the current is not applied. A spike hands back R = g·s, nothing where it is silent; but the spikes of the network's last
layer are judged as such, fired or not, and there R = g. So the factor s is left to whatever takes the spikes in
(:data:`altprop.ops.lfp.credit.SPIKES`).

Reset to zero leaves v = (1 − reset)·u_t, which takes the place of u_t. A neuron fires where u_{t+1} − θ > 0: to the
spike, a learnable θ is a weight on −1 (and on −reset where a reset subtracts it), a learnable β a weight on u_t; as
every weight, they learn scaled by their magnitude.

Reference:
    Weber et al., "Efficient and Flexible Neural Network Training through Layer-wise Feedback Propagation", TMLR 2025,
    on spiking networks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Never

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._contextlib import context_decorator

from altprop._switches import without_gradients
from altprop.ops.lfp.credit import SPIKES
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.lfp.table import LFP_TABLE, LFPInterceptor
from altprop.ops.names import OpRule

NEURON_TABLE: dict[str, str] = {
    "snntorch._neurons.leaky.Leaky": "leaky",
    "snntorch._neurons.synaptic.Synaptic": "synaptic",
    "snntorch._neurons.rleaky.RLeaky": "recurrent_leaky",
    # The class that all of snntorch's neurons share, and those that stand alone.
    "snntorch._neurons.neurons.SpikingNeuron": "refused_neuron",
    "snntorch._neurons.leakyparallel.LeakyParallel": "refused_neuron",
}
"""The neurons by the full name of their class, and the rule of each."""


def leaky(lfp: LFPPass, forward: Callable[..., Any], current: Tensor, mem: Tensor | None = None) -> Any:
    """A leaky neuron: the reward, divided by how far the membrane moved, goes to the current and to the membrane."""
    neuron: Any = _taking_in(lfp, forward, current)
    before = _fitting(neuron.mem if mem is None else mem, current)
    output = _computed(forward, *((current,) if mem is None else (current, mem)))
    spikes, neuron.mem = _fire(lfp, neuron, current, before, output, wiped=False)
    return _as(output, spikes, neuron.mem)


def synaptic(
    lfp: LFPPass, forward: Callable[..., Any], current: Tensor, syn: Tensor | None = None, mem: Tensor | None = None
) -> Any:
    """A leaky neuron with a synaptic current, α times the previous one plus the input: a weighted sum."""
    neuron: Any = _taking_in(lfp, forward, current)
    before = _fitting(neuron.mem if mem is None else mem, current)
    syn_before = _fitting(neuron.syn if syn is None else syn, current)
    output = _computed(forward, *((current,) if mem is None and syn is None else (current, syn, mem)))
    neuron.syn = _Filter.apply(current, syn_before, _decay(lfp, neuron.alpha), neuron.syn)
    spikes, neuron.mem = _fire(lfp, neuron, neuron.syn, before, output, wiped=True)
    return _as(output, spikes, neuron.syn, neuron.mem)


def recurrent_leaky(
    lfp: LFPPass, forward: Callable[..., Any], current: Tensor, spk: Tensor | None = None, mem: Tensor | None = None
) -> Any:
    """A leaky neuron that its layer's own spikes feed back into, through a weighted sum with its own rule."""
    neuron: Any = _taking_in(lfp, forward, current)
    before = _fitting(neuron.mem if mem is None else mem, current)
    spikes = _fitting(neuron.spk if spk is None else spk, current)
    output = _computed(forward, *((current,) if mem is None and spk is None else (current, spk, mem)))
    before_it = torch.zeros_like(current) if spikes is None else spikes
    returned = LFPInterceptor(LFP_TABLE, lfp).run(neuron.recurrent, (before_it,), {})
    _taking_in(lfp, forward, returned)
    neuron.spk, neuron.mem = _fire(lfp, neuron, current + returned, before, output, wiped=True)
    return _as(output, neuron.spk, neuron.mem)


def refused_neuron(lfp: LFPPass, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Never:
    """No rule: within such a neuron the gradient would be that of its surrogate."""
    raise RuntimeError(
        f"LFP has no rule for snntorch.{type(_neuron_of(forward)).__name__}: it knows how to share a reward among what "
        f"the membranes of snntorch.Leaky, Synaptic and RLeaky add up. Use one of these, or train with surrogate "
        f"gradients (altprop.Backprop, FeedbackAlignment, DFA)."
    )


# The interceptor is silent within a neuron, but would still be asked about each of its many small operations.
# As decorators, for an interrupt can come between the last line of a block and its end.
_unseen = partial(context_decorator, lambda: torch._C.DisableTorchFunction())  # noqa: PLW0108 - torch takes no class


@without_gradients
@_unseen
def _computed(forward: Callable[..., Any], *args: Any) -> Any:
    return forward(*args)


NEURON_RULES: dict[str, OpRule] = {
    rule.__name__: rule for rule in (leaky, synaptic, recurrent_leaky, refused_neuron)
}  # fmt: skip


def _neuron_of(forward: Callable[..., Any]) -> Any:
    # The neuron's own call, bound to it: its values are computed by it, so that they are the plain model's to the bit.
    return forward.__self__  # type: ignore[attr-defined]


def _taking_in(lfp: LFPPass, forward: Callable[..., Any], current: Tensor) -> Any:
    # The current is divided by how far the membrane moved, and by no factor of its own.
    if current.requires_grad:
        lfp.take(current)
    return _neuron_of(forward)


def _fitting(state: Tensor, current: Tensor) -> Tensor | None:
    """The state before this step; None stands for zeros, which snntorch takes where the shape is another."""
    return state if state.shape == current.shape else None


def _decay(lfp: LFPPass, rate: Tensor) -> Tensor:
    scaled: Tensor = lfp.operand(rate).clamp(0, 1)
    return scaled


def _as(output: Any, spikes: Tensor, *states: Tensor) -> Any:
    """The results in the form in which the neuron itself returns them."""
    return (spikes, *states) if isinstance(output, tuple) else spikes


@_unseen
def _fire(
    lfp: LFPPass, neuron: Any, current: Tensor, before: Tensor | None, output: Any, *, wiped: bool
) -> tuple[Tensor, Tensor]:
    """The neuron's new spikes and membrane, connected to what they were computed from.

    Args:
        lfp: the settings.
        neuron: after its step.
        current: all that was added to the membrane.
        before: the membrane before, or None for zeros.
        output: what the neuron gave.
        wiped: reset to zero takes the current along with the potential, as snntorch's neurons other than Leaky have it.
    """
    spikes = output[0] if isinstance(output, tuple) else output
    kind = neuron.reset_mechanism
    kept = 1 - neuron.reset if kind == "zero" else None
    fired, membrane = _Fire.apply(
        current,
        before,
        _decay(lfp, neuron.beta),
        lfp.operand(neuron.threshold),
        spikes,
        neuron.mem,
        neuron.reset if kind == "subtract" else None,
        kept,
        wiped,
        lfp.epsilon,
    )
    return lfp.defer(fired, SPIKES), lfp.defer(membrane, 0.0)


class _Fire(Function):
    """One step of a neuron. The spikes and the membrane are given, marked as changed so that this node is theirs."""

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        before: Tensor | None,
        beta: Tensor,
        theta: Tensor,
        spikes: Tensor,
        membrane: Tensor,
        subtracted: Tensor | None,
        kept: Tensor | None,
        wiped: bool,
        epsilon: float,
    ) -> tuple[Tensor, Tensor]:
        v = before if kept is None or before is None else kept * before
        # |v| + |βv + I − v| + ε
        moved = current.abs() if v is None else torch.addcmul(current, v, beta - 1).abs_().add_(v.abs())
        divisor = moved.add_(epsilon) if epsilon else moved.masked_fill_(moved == 0, torch.inf)
        needed = v if ctx.needs_input_grad[2] else None
        ctx.save_for_backward(divisor, membrane, beta, theta, needed, subtracted, kept)
        ctx.wiped = wiped
        ctx.set_materialize_grads(False)
        ctx.mark_dirty(spikes, membrane)
        return spikes, membrane

    @staticmethod
    def backward(ctx: Any, g_s: Tensor | None, g_u: Tensor | None) -> tuple[Tensor | None, ...]:
        divisor, membrane, beta, theta, v, subtracted, kept = ctx.saved_tensors
        rho = _reward(g_s, g_u, membrane) / divisor
        if ctx.wiped and kept is not None:
            rho = rho * kept
        g_before = g_beta = g_theta = None
        if ctx.needs_input_grad[1]:
            g_before = rho * beta if kept is None or ctx.wiped else rho * beta * kept
        if v is not None:
            g_beta = (rho * v).sum_to_size(beta.shape)
        if ctx.needs_input_grad[3]:
            against = torch.zeros_like(divisor) if g_s is None else g_s / divisor
            against = against if subtracted is None else torch.addcmul(against, subtracted, rho)
            g_theta = -against.sum_to_size(theta.shape)
        return rho, g_before, g_beta, g_theta, None, None, None, None, None, None


def _reward(g_s: Tensor | None, g_u: Tensor | None, membrane: Tensor) -> Tensor:
    if g_u is None:
        assert g_s is not None
        return g_s
    return g_u * membrane if g_s is None else torch.addcmul(g_s, g_u, membrane)


class _Filter(Function):
    """A synaptic current, given: α times the one before, plus the input."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, before: Tensor | None, alpha: Tensor, after: Tensor) -> Tensor:
        ctx.save_for_backward(alpha, before if ctx.needs_input_grad[2] else None)
        ctx.mark_dirty(after)
        return after

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        alpha, before = ctx.saved_tensors
        g_before = g * alpha if ctx.needs_input_grad[1] else None
        g_alpha = None if before is None else (g * before).sum_to_size(alpha.shape)
        return g, g_before, g_alpha, None
