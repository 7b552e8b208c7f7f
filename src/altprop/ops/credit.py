"""The arithmetic of LFP's credit: small autograd nodes that are the identity forward and LFP backward.

What flows backward is g = R / a, the reward per unit of activation. In that form a weighted sum z = W a + b hands back

    g_i = Σ_j w_ij · g_j · z_j / (z_j + ε·sign z_j)                            (sign 0 := 1)

which is the ordinary gradient but for the factor z / (z + ε·sign z) = |z| / (|z| + ε). The factor is *deferred*: an
operation marks its output z as still lacking it, operations that only move values pass the mark along, and the next
operation that mixes values settles it. An activation settles it within its own factor, and a ReLU or a max pool carries
it to where the values are saved anyway, so that it costs no memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

_DEFERRED = "_altprop_deferred_epsilon"

SPIKES = -1.0
"""In place of ε, the mark of a neuron's spikes s, whose deferred factor is s itself: what takes them in hands back the
reward R = g·s, which is what the neuron divides. Spikes that leave the model never take it: there, R = g."""


def defer(z: Any, epsilon: float) -> Any:
    """Mark ``z`` (a tensor or a sequence of them) as lacking its factor |z| / (|z| + ε)."""
    if isinstance(z, tuple | list):
        for part in z:
            defer(part, epsilon)
    elif isinstance(z, Tensor) and z.requires_grad:
        setattr(z, _DEFERRED, epsilon)
    return z


def deferred(z: Tensor) -> float:
    """The ε of the factor that ``z`` still lacks; 0 if it lacks none."""
    epsilon: float = getattr(z, _DEFERRED, 0.0)
    return epsilon


def settle(z: Tensor) -> Tensor:
    """``z`` with its deferred factor applied to the credit that comes back."""
    epsilon = deferred(z)
    if not epsilon:
        return z
    settled: Tensor = _Settle.apply(z, epsilon)
    return settled


def settle_spikes(a: Tensor) -> Tensor:
    """:func:`settle` for spikes alone: for operations that deal with the factor of a weighted sum in their own way."""
    return settle(a) if deferred(a) == SPIKES else a


def settle_output(z: Tensor) -> Tensor:
    """Like :func:`settle` for a tensor that leaves the model, which its user may overwrite in place.

    A view made inside an autograd node may not be overwritten, and a copy would cost memory; a hook does neither.
    """
    epsilon = deferred(z)
    if not epsilon or epsilon == SPIKES:
        return z
    if torch.compiler.is_compiling():
        return settle(z)
    setattr(z, _DEFERRED, 0.0)
    z.register_hook(_OutputFactor(z.detach(), epsilon))  # type: ignore[no-untyped-call]
    return z


def scale(parameter: Tensor, minimum: float) -> Tensor:
    """``parameter``, whose gradient will be multiplied by max(|w|, minimum): LFP's weight update."""
    scaled: Tensor = _Scale.apply(parameter, minimum)
    return scaled


def enter(a: Tensor, w: Tensor, b: Tensor | None, minimum: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """:func:`settle` the input and :func:`scale` the weight and bias of a layer, in one node: the hot path."""
    epsilon = deferred(a)
    to_settle = a if epsilon else None
    w_to_scale = w if w.requires_grad and w.is_leaf else None
    b_to_scale = b if b is not None and b.requires_grad and b.is_leaf else None
    if to_settle is None and w_to_scale is None and b_to_scale is None:
        return a, settle(w), b
    settled, w_scaled, b_scaled = _Enter.apply(to_settle, w_to_scale, b_to_scale, epsilon, minimum)
    return (
        a if settled is None else settled,
        settle(w) if w_scaled is None else w_scaled,
        b if b_scaled is None else b_scaled,
    )


def share(a: Tensor, part: float) -> Tensor:
    """``a``, to which only ``part`` of the credit comes back."""
    shared: Tensor = _Share.apply(a, part)
    return shared


def secant_denominator(z: Tensor, epsilon: float) -> Tensor:
    """z + ε·sign z, with sign 0 := 1. For ε = 0 infinite where z is zero, so that no credit passes there."""
    if not epsilon:
        return z.masked_fill(z == 0, torch.inf)
    # Several times faster than torch.where. Adding zero makes a zero positive; double, so that ε is not rounded.
    return torch.copysign(torch.tensor(epsilon, dtype=torch.float64), z + 0.0).add_(z)


def secant(z: Tensor, a: Tensor, denominator: Tensor) -> Tensor:
    """Connect a = φ(z) to ``z`` by the secant: g_z = g_a · a / (z + ε·sign z).

    Args:
        z: the input of the activation, in the graph.
        a: its output, computed outside the graph of ``z`` (it may carry a graph of φ's own parameters), or ``z`` itself
            where the activation worked in place.
        denominator: z + ε·sign z, taken before any in-place work.
    """
    factor = a.detach() / denominator
    if a is z:
        overwritten: Tensor = defer(_SecantInPlace.apply(z, factor), 0.0)
        return overwritten
    connected: Tensor = _Secant.apply(z, a, factor)
    return connected


def is_parameter(value: object) -> bool:
    """Whether ``value`` is a trainable parameter, whose update LFP scales by its magnitude."""
    return isinstance(value, nn.Parameter) and value.requires_grad


class _OutputFactor:
    """The deferred factor as a hook. Once the output is overwritten its value is gone, and the factor is taken as 1."""

    def __init__(self, z: Tensor, epsilon: float) -> None:
        self.z = z
        self.version = z._version
        self.epsilon = epsilon

    def __call__(self, g: Tensor) -> Tensor:
        return g if self.z._version != self.version else _apply_factor(g, self.z, self.epsilon)


def _apply_factor(g: Tensor, z: Tensor, epsilon: float) -> Tensor:
    if epsilon == SPIKES:
        return g * z
    # g·|z| / (|z| + ε) as g − ε·g / (|z| + ε), which stays finite where z is infinite.
    denominator = z.abs().add_(epsilon)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.addcdiv(g, g, denominator, value=-epsilon)
    # One fresh tensor instead of two: on a CPU, fresh memory costs more than the arithmetic.
    return torch.addcdiv(g, g, denominator, value=-epsilon, out=denominator)


def _scale_gradient(g: Tensor, w: Tensor, minimum: float) -> Tensor:
    magnitude = w.abs().clamp_(min=minimum) if minimum else w.abs()
    # An embedding made with sparse=True has a sparse gradient, and stays sparse.
    return g * magnitude if g.is_sparse else magnitude.mul_(g)


def _scale_own_gradient(g: Tensor, w: Tensor, minimum: float) -> Tensor:
    # The gradient of a weight matrix, just made by the layer's own backward pass: no one else holds it (which a bias's
    # need not be), so that it can be scaled in place.
    if g.is_sparse or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _scale_gradient(g, w, minimum)
    return g.mul_(w.abs().clamp_(min=minimum) if minimum else w.abs())


class _Enter(Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor | None, w: Tensor | None, b: Tensor | None, epsilon: float, minimum: float
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        ctx.save_for_backward(a, w, b)
        ctx.epsilon, ctx.minimum = epsilon, minimum
        ctx.set_materialize_grads(False)
        return (
            None if a is None else a.detach(),
            None if w is None else w.detach(),
            None if b is None else b.detach(),
        )

    @staticmethod
    def backward(
        ctx: Any, g_a: Tensor | None, g_w: Tensor | None, g_b: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        a, w, b = ctx.saved_tensors
        return (
            None if g_a is None else _apply_factor(g_a, a, ctx.epsilon),
            None if g_w is None else _scale_own_gradient(g_w, w, ctx.minimum),
            None if g_b is None else _scale_gradient(g_b, b, ctx.minimum),
            None,
            None,
        )


class _Settle(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.epsilon = epsilon
        return z.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        return _apply_factor(g, z, ctx.epsilon), None


class _Scale(Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, minimum: float) -> Tensor:
        ctx.save_for_backward(w)
        ctx.minimum = minimum
        return w.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (w,) = ctx.saved_tensors
        return _scale_gradient(g, w, ctx.minimum), None


class _Share(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, part: float) -> Tensor:
        ctx.part = part
        return a.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g * ctx.part, None


class _Secant(Function):
    # Marking `a` as dirty puts this node on `a` itself: no copy, and no view that could not be overwritten later.
    @staticmethod
    def forward(ctx: Any, z: Tensor, a: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        ctx.mark_dirty(a)
        return a

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (factor,) = ctx.saved_tensors
        return g * factor, g if ctx.needs_input_grad[1] else None, None


class _SecantInPlace(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        ctx.mark_dirty(z)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return g * factor, None
