"""Weighted sums whose error goes back through feedback weights.

For z = W a + b and feedback weights B of W's shape, with δ the error at z:

    δ_a = Bᵀ δ        (backprop: Wᵀ δ)
    δ_W = δ aᵀ,   δ_b = Σ δ        as in backprop

If B is to be learned (it requires a gradient), it gets δ_W too, so that both move alike (Kolen and Pollack). The
backward pass is made of ordinary operations: it can be differentiated again, with B as a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

Sizes = tuple[int, ...]

_SMALL = 2**19
"""Below this size oneDNN takes longer for a convolution's bias than a sum does (0.2 of 1.2 ms in LeNet's second)."""


def linear(a: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:
    """``torch.nn.functional.linear`` with the error handed back through ``feedback``.

    Args:
        a: (..., in).
        weight: (out, in).
        bias: (out), or None.
        feedback: (out, in).

    Returns:
        (..., out), exactly the values of ``F.linear``.
    """
    output: Tensor = _Linear.apply(*_autocast(a, weight, bias, feedback))
    return output


def convolution(
    a: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feedback: Tensor,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Tensor:
    """``torch.convolution`` with the error handed back through ``feedback``.

    Args:
        a: (batch, channels, ...), with as many spatial dimensions as ``stride`` has entries; or without the batch.
        weight: as the convolution has it.
        bias: (out), or None.
        feedback: of the shape of ``weight``.
        stride: the steps of the kernel.
        padding: zeros around the input.
        dilation: the distances between the kernel's elements.
        transposed: whether the convolution is transposed.
        output_padding: what a transposed convolution adds to its output's size.
        groups: into how many parts the channels are divided.

    Returns:
        Exactly the values of ``torch.convolution``.
    """
    geometry = (stride, padding, dilation, transposed, output_padding, groups)
    a, weight, bias, feedback = _autocast(a, weight, bias, feedback)  # type: ignore[assignment]
    if a.dim() == len(stride) + 1:
        alone: Tensor = _Convolution.apply(a.unsqueeze(0), weight, bias, feedback, geometry)
        return alone.squeeze(0)
    output: Tensor = _Convolution.apply(a, weight, bias, feedback, geometry)
    return output


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(a, feedback)
        return F.linear(a, weight, bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        a, feedback = ctx.saved_tensors
        for_a, for_weight, for_bias, for_feedback = ctx.needs_input_grad
        error_a = error.matmul(feedback.detach()) if for_a else None
        if error.dim() != 2:
            error, a = error.reshape(-1, error.shape[-1]), a.reshape(-1, a.shape[-1])
        error_weight = error.t().mm(a) if for_weight else None
        error_bias = error.sum(0) if for_bias else None
        return error_a, error_weight, error_bias, error_weight if for_feedback else None


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor, geometry: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(a, feedback)
        ctx.geometry = geometry
        return torch.convolution(a, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        a, feedback = ctx.saved_tensors
        for_a, for_weight, for_bias, for_feedback, _ = ctx.needs_input_grad
        apart = for_bias and error.device.type == "cpu" and error.numel() < _SMALL
        # A weight's gradient does not depend on its values, so B can take its place.
        error_a, error_weight, error_bias = torch.ops.aten.convolution_backward.default(
            error, a, feedback.detach(), [error.shape[1]], *ctx.geometry, [for_a, for_weight, for_bias and not apart]
        )
        if apart:
            error_bias = error.sum((0, *range(2, error.dim())))
        return error_a, error_weight, error_bias, error_weight if for_feedback else None, None


def _autocast(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Cast the operands as autocast would, before the node, so that it saves what it computes with."""
    first = tensors[0]
    if first is None or not torch.is_autocast_enabled(first.device.type):
        return tensors
    dtype = torch.get_autocast_dtype(first.device.type)
    return tuple(tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors)
