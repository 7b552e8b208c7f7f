"""Weighted sums that hand the error back through other weights than those of the forward pass.

For z = a W + b and feedback weights B of W's shape, with δ the error at z:

    δ_a = δ Bᵀ        (backprop: δ Wᵀ)
    δ_W = aᵀ δ,   δ_b = Σ δ        as in backprop
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

WeightedSum = Callable[[Array, Array], Array]


def with_feedback(weighted_sum: WeightedSum, a: Array, kernel: Array, feedback: Array, *, learned: bool) -> Array:
    """``weighted_sum(a, kernel)`` with the error handed back through ``feedback``.

    Args:
        weighted_sum: linear in each of its two arguments: a product, a convolution.
        a: what goes in.
        kernel: the weights.
        feedback: of the shape and dtype of ``kernel``.
        learned: whether ``feedback`` gets the gradient of ``kernel`` too, as Kolen and Pollack have it; or none.

    Returns:
        The very values of ``weighted_sum(a, kernel)``.

    Raises:
        ValueError: ``feedback`` has another shape than ``kernel``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> a, W, B = jnp.ones(2), jnp.ones((2, 3)), jnp.full((2, 3), 5.0)
        >>> jax.grad(lambda a: with_feedback(jnp.matmul, a, W, B, learned=False).sum())(a).tolist()
        [15.0, 15.0]
    """
    if feedback.shape != kernel.shape:
        raise ValueError(f"Feedback weights have the kernel's shape, {kernel.shape}; got {feedback.shape}.")

    @jax.custom_vjp
    def run(a: Array, kernel: Array, feedback: Array) -> Array:
        return weighted_sum(a, kernel)

    def forward(a: Array, kernel: Array, feedback: Array) -> tuple[Array, tuple[Array, Array]]:
        return weighted_sum(a, kernel), (a, feedback)

    def backward(saved: tuple[Array, Array], error: Array) -> tuple[Array, Array, Array]:
        a, feedback = saved
        # The kernel's own gradient does not depend on its values, nor that of the input on the input's.
        (error_a,) = jax.linear_transpose(lambda a: weighted_sum(a, feedback), a)(error)
        (error_kernel,) = jax.linear_transpose(lambda kernel: weighted_sum(a, kernel), feedback)(error)
        return error_a, error_kernel, error_kernel if learned else jnp.zeros_like(feedback)

    run.defvjp(forward, backward)
    return run(a, kernel, feedback.astype(kernel.dtype))


def fa_dense(a: Array, kernel: Array, bias: Array | None, feedback: Array) -> Array:
    """Feedback alignment for a dense layer.

    Args:
        a: (..., in).
        kernel: (in, out).
        bias: (out), or None.
        feedback: (in, out), fixed.

    Returns:
        (..., out).

    Reference:
        Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning", Nature
        Communications 2016, its equation for the update of the hidden weights.
    """
    return _add(with_feedback(jnp.matmul, a, kernel, feedback, learned=False), bias)


def kp_dense(a: Array, kernel: Array, bias: Array | None, feedback: Array) -> Array:
    """Kolen–Pollack for a dense layer: ``feedback`` gets the gradient of ``kernel``; with weight decay both become one.

    Args:
        a: (..., in).
        kernel: (in, out).
        bias: (out), or None.
        feedback: (in, out), a parameter.

    Returns:
        (..., out).

    Reference:
        Kolen and Pollack, "Backpropagation without weight transport", ICNN 1994; Akrout et al., "Deep learning without
        weight transport", NeurIPS 2019.
    """
    return _add(with_feedback(jnp.matmul, a, kernel, feedback, learned=True), bias)


def sign_symmetric_dense(a: Array, kernel: Array, bias: Array | None, magnitude: Array | float) -> Array:
    """Sign-symmetric feedback for a dense layer: B = |M| ∘ sign(W), with sign 0 := 0.

    Args:
        a: (..., in).
        kernel: (in, out).
        bias: (out), or None.
        magnitude: M: a number for all (uSF), or of the kernel's shape: fixed (frSF), or drawn anew for each batch
            (brSF).

    Returns:
        (..., out).

    Reference:
        Liao, Leibo and Poggio, "How important is weight symmetry in backpropagation?", AAAI 2016.
    """
    return fa_dense(a, kernel, bias, sign_feedback(kernel, magnitude))


def fa_conv(a: Array, kernel: Array, bias: Array | None, feedback: Array, **geometry: Any) -> Array:
    """Feedback alignment for a convolution.

    Args:
        a: (batch, ..., in), channels last.
        kernel: (..., in / groups, out).
        bias: (out), or None.
        feedback: of the kernel's shape, fixed.
        **geometry: as of :func:`convolution`.

    Returns:
        (batch, ..., out).

    Reference:
        Moskovitz, Litwin-Kumar and Abbott, "Feedback alignment in deep convolutional networks", 2018.
    """
    return _add(with_feedback(convolution(a.ndim - 2, **geometry), a, kernel, feedback, learned=False), bias)


def kp_conv(a: Array, kernel: Array, bias: Array | None, feedback: Array, **geometry: Any) -> Array:
    """Kolen–Pollack for a convolution: as :func:`fa_conv`, with ``feedback`` a parameter, as in :func:`kp_dense`."""
    return _add(with_feedback(convolution(a.ndim - 2, **geometry), a, kernel, feedback, learned=True), bias)


def sign_symmetric_conv(
    a: Array, kernel: Array, bias: Array | None, magnitude: Array | float, **geometry: Any
) -> Array:
    """Sign-symmetric feedback for a convolution: as :func:`fa_conv`, with B as in :func:`sign_symmetric_dense`."""
    return fa_conv(a, kernel, bias, sign_feedback(kernel, magnitude), **geometry)


def sign_feedback(kernel: Array, magnitude: Array | float) -> Array:
    """|M| ∘ sign(W), through which no gradient goes."""
    return lax.stop_gradient(jnp.abs(magnitude) * jnp.sign(kernel)).astype(kernel.dtype)


def convolution(
    dimensions: int,
    *,
    strides: int | Sequence[int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    input_dilation: int | Sequence[int] = 1,
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
) -> WeightedSum:
    """A convolution as a function of its input and its kernel, channels last.

    Args:
        dimensions: how many dimensions are spatial.
        strides: the steps of the kernel; one number for all dimensions, or one for each.
        padding: ``"SAME"``, ``"VALID"``, or zeros before and after for each dimension.
        input_dilation: the distances between the input's entries; above 1 the convolution is transposed.
        kernel_dilation: the distances between the kernel's entries.
        feature_group_count: into how many parts the channels are divided.
    """
    spatial = "XYZ"[:dimensions]

    def each(value: int | Sequence[int]) -> tuple[int, ...]:
        return (value,) * dimensions if isinstance(value, int) else tuple(value)

    def run(a: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            a,
            kernel,
            each(strides),
            padding,
            each(input_dilation),
            each(kernel_dilation),
            (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
            feature_group_count,
        )

    return run


def _add(z: Array, bias: Array | None) -> Array:
    return z if bias is None else z + bias
