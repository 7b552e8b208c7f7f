"""The arithmetic of LFP's credit: small autograd nodes that are the identity forward and LFP backward.

What flows backward is g = R / a, the reward per unit of activation. In that form a weighted sum z = W a + b hands back

    g_i = Σ_j w_ij · g_j · z_j / (z_j + ε·sign z_j)                            (sign 0 := 1)

which is the ordinary gradient but for the factor z / (z + ε·sign z) = |z| / (|z| + ε). The factor is *deferred*: an
operation marks its output z as still lacking it, operations that only move values pass the mark along, and the next
operation that mixes values applies it. An activation merges it with its own factor. A ReLU or a max pool passes it on
to an operation that saves the values anyway, so that it costs no memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, is_grad_enabled
from torch.autograd import Function
from torch.compiler import is_compiling

SPIKES = -1.0
"""In place of ε, the mark of a neuron's spikes s, whose deferred factor is s itself: what takes them in hands back the
reward R = g·s, which is what the neuron divides. Spikes that leave the model never take it: there, R = g."""


def apply_deferred_factor(z: Tensor, epsilon: float) -> Tensor:
    """``z``, whose credit will be multiplied by the deferred factor |z| / (|z| + ε)."""
    result: Tensor = _ApplyDeferredFactor.apply(z, epsilon)
    return result


def scale_update(parameter: Tensor, minimum: float) -> Tensor:
    """``parameter``, whose gradient will be multiplied by max(|w|, minimum): LFP's weight update."""
    scaled: Tensor = _ScaleUpdate.apply(parameter, minimum)
    return scaled


def layer_operands(
    a: Tensor | None, w: Tensor | None, b: Tensor | None, epsilon: float, minimum: float
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """A layer's input with its deferred factor applied, its weight and bias with scaled updates; None for None.

    One node for all three: the hot path.
    """
    operands: tuple[Tensor | None, Tensor | None, Tensor | None]
    if is_compiling():
        operands = _LayerOperands.apply(a, w, b, (epsilon, minimum, False))
    else:
        made_by = None if a is None else a.grad_fn
        rectified = made_by is not None and made_by.name() == "ReluBackward0"
        operands = _layer_operands(a, w, b, (epsilon, minimum, rectified))
    return operands


def scale_gradient(a: Tensor, part: float) -> Tensor:
    """``a``, whose gradient will be multiplied by ``part``."""
    scaled: Tensor = _ScaleGradient.apply(a, part)
    return scaled


def scale_gradient_by(z: Tensor, part: Tensor) -> Tensor:
    """``z``, whose gradient will be multiplied elementwise by ``part``."""
    scaled: Tensor = _ScaleGradientBy.apply(z, part)
    return scaled


def half_to(z: Tensor, a: Tensor) -> Tensor:
    """``z``, half of whose credit goes to ``a``, which broadcasts to it."""
    joined: Tensor = _HalfTo.apply(z, a)
    return joined


def secant_denominator(z: Tensor, epsilon: float) -> Tensor:
    """z + ε·sign z, with sign 0 := 1. For ε = 0 infinite where z is zero, so that no credit passes there."""
    if not epsilon:
        return z.masked_fill(z == 0, torch.inf)
    # Several times faster than torch.where. Adding 0 turns -0 into +0.
    plain = type(z) is Tensor and not is_compiling()
    return torch.copysign(_scalar(epsilon) if plain else _scalar.__wrapped__(epsilon), z + 0.0).add_(z)


@lru_cache
def _scalar(epsilon: float) -> Tensor:
    # In double precision, so that ε is not rounded; on the CPU, from where a number goes with tensors of any device.
    return torch.tensor(epsilon, dtype=torch.float64, device="cpu")


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
        overwritten: Tensor = _SecantInPlace.apply(z, factor)
        return overwritten
    connected: Tensor = (_Secant.apply if is_compiling() else _connect)(z, a, factor)
    return connected


def times_factor(g: Tensor, z: Tensor, epsilon: float, recorded: bool, rectified: bool = False) -> Tensor:
    """The credit ``g`` times the deferred factor of ``z``, which has no negative value if ``rectified``.

    ``recorded``: see :func:`is_recorded`.
    """
    if epsilon == SPIKES:
        return g * z
    # g·|z| / (|z| + ε) as g − ε·g / (|z| + ε), which stays finite where z is infinite.
    denominator = z + epsilon if rectified else z.abs().add_(epsilon)
    if recorded or g.is_complex():
        return torch.addcdiv(g, g, denominator, value=-epsilon)
    # Allocate one tensor instead of two: on a CPU, allocation costs more than the arithmetic.
    return torch.addcdiv(g, g, denominator, value=-epsilon, out=denominator)


def is_recorded() -> bool:
    """Whether what is computed now may be differentiated, or is traced by torch.compile."""
    return is_grad_enabled() or is_compiling()


def times_magnitude(g: Tensor, w: Tensor, minimum: float) -> Tensor:
    """The gradient ``g`` of ``w``, times max(|w|, minimum)."""
    magnitude = w.abs().clamp_(min=minimum) if minimum else w.abs()
    # The gradient of an embedding with sparse=True stays sparse.
    return g * magnitude if g.is_sparse else magnitude.mul_(g)


def _times_magnitude_in_place(g: Tensor, w: Tensor, minimum: float, recorded: bool) -> Tensor:
    # The gradient of a weight matrix, just made by the layer's own backward pass: no one else holds it (which a bias's
    # need not be), so that it can be scaled in place.
    if recorded or g.is_sparse:
        return times_magnitude(g, w, minimum)
    return g.mul_(w.abs().clamp_(min=minimum) if minimum else w.abs())


class _LayerOperands(Function):
    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor | None,
        w: Tensor | None,
        b: Tensor | None,
        settings: tuple[float, float, bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        ctx.save_for_backward(a, w, b)
        ctx.kept = None  # what was saved, with a copy of a, once a is overwritten
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        return (
            None if a is None else a.detach(),
            None if w is None else w.detach(),
            None if b is None else b.detach(),
        )

    @staticmethod
    def backward(
        ctx: Any, g_a: Tensor | None, g_w: Tensor | None, g_b: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        a, w, b = ctx.saved_tensors if ctx.kept is None else ctx.kept
        epsilon, minimum, rectified = ctx.settings
        recorded = is_recorded()
        return (
            None if g_a is None else times_factor(g_a, a, epsilon, recorded, rectified),
            None if g_w is None else _times_magnitude_in_place(g_w, w, minimum, recorded),
            None if g_b is None else times_magnitude(g_b, b, minimum),
            None,
        )


# Function.apply without its check for the transforms of torch.func, which are refused where the model is called.
_layer_operands = super(Function, _LayerOperands).apply


# The two halves of _LayerOperands by themselves: to use that node for one tensor takes half as long again.
class _ApplyDeferredFactor(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.kept = None
        ctx.epsilon = epsilon
        return z.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors if ctx.kept is None else ctx.kept
        return times_factor(g, z, ctx.epsilon, is_recorded()), None


class _ScaleUpdate(Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, minimum: float) -> Tensor:
        ctx.save_for_backward(w)
        ctx.minimum = minimum
        return w.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (w,) = ctx.saved_tensors
        return times_magnitude(g, w, ctx.minimum), None


class _ScaleGradient(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, part: float) -> Tensor:
        ctx.part = part
        return a.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g * ctx.part, None


class _ScaleGradientBy(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, part: Tensor) -> Tensor:
        ctx.save_for_backward(part)
        return z.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (part,) = ctx.saved_tensors
        return g * part, None


class _HalfTo(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, a: Tensor) -> Tensor:
        ctx.shape = a.shape
        return z.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        half = g * 0.5
        return half, half.sum_to_size(ctx.shape)


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


_connect = super(Function, _Secant).apply  # as above


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
