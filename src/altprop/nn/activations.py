"""Activations without a useful derivative. Backprop stops at them; LFP does not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from altprop.ops.interceptor import one_operation


@one_operation
def step(z: Tensor) -> Tensor:
    """1 where z > 0, else 0; its gradient is zero everywhere.

    Args:
        z: any shape, floating point.

    Returns:
        A tensor of the same shape and dtype.
    """
    return torch.sign(z).clamp(min=0)


@one_operation
def sign(z: Tensor) -> Tensor:
    """+1 where z ≥ 0, else −1 (``torch.sign`` gives 0 at 0); its gradient is zero everywhere.

    Args:
        z: any shape, floating point.

    Returns:
        A tensor of the same shape and dtype.
    """
    return 2 * torch.sign(torch.sign(z) + 0.5).clamp(min=0) - 1


class Step(nn.Module):
    """The threshold unit of the perceptron: 1 where the input is positive, else 0.

    Example:
        >>> import altprop, torch
        >>> altprop.nn.Step()(torch.tensor([-1.0, 0.0, 0.5]))
        tensor([0., 0., 1.])
    """

    def forward(self, z: Tensor) -> Tensor:
        """Apply :func:`step`."""
        return step(z)


class Sign(nn.Module):
    """The binary unit: +1 where the input is not negative, else −1.

    Example:
        >>> import altprop, torch
        >>> altprop.nn.Sign()(torch.tensor([-1.0, 0.0, 0.5]))
        tensor([-1.,  1.,  1.])
    """

    def forward(self, z: Tensor) -> Tensor:
        """Apply :func:`sign`."""
        return sign(z)
