"""Spike encoders: each turns inputs of shape (batch, ...) into (steps, batch, ...)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Encoder = Callable[[Tensor, int], Tensor]
"""``encoder(x, steps)`` encodes x of shape (batch, ...) as (steps, batch, ...)."""


def repeat(x: Tensor, steps: int) -> Tensor:
    """The same input current at every step.

    Args:
        x: any values, of shape (batch, ...).
        steps: how many steps of time.

    Returns:
        A view of ``x`` of shape (steps, batch, ...).
    """
    return x.expand(steps, *x.shape)


def rate(x: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Random spikes whose probability at each step is the input: what is brighter fires more often.

    Args:
        x: in [0, 1], of shape (batch, ...).
        steps: how many steps of time.
        generator: what to draw from; by default torch's own.

    Returns:
        Zeros and ones, of shape (steps, batch, ...) and of the dtype of ``x``.

    Raises:
        ValueError: an input is not in [0, 1].

    Example:
        >>> import altprop.nn, torch
        >>> altprop.nn.encoders.rate(torch.tensor([[0.0, 1.0]]), 3).sum(0)
        tensor([[0., 3.]])
    """
    _check_range(x, "rate")
    return torch.bernoulli(x.detach().expand(steps, *x.shape), generator=generator)


def latency(x: Tensor, steps: int) -> Tensor:
    """One spike for each input, the earlier the larger it is: 1 at the first step, and 0 never.

    Args:
        x: in [0, 1], of shape (batch, ...). Input x > 0 fires at step round((1 − x)·(steps − 1)).
        steps: how many steps of time.

    Returns:
        Zeros and ones, of shape (steps, batch, ...) and of the dtype of ``x``.

    Raises:
        ValueError: an input is not in [0, 1].

    Example:
        >>> import altprop.nn, torch
        >>> altprop.nn.encoders.latency(torch.tensor([[1.0, 0.5, 0.0]]), 3)[:, 0]
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])
    """
    _check_range(x, "latency")
    when = ((1 - x.detach()) * (steps - 1)).round()
    time = torch.arange(steps, device=x.device).view(-1, *[1] * x.dim())
    return ((when == time) & (x > 0)).to(x.dtype)


ENCODERS: dict[str, Encoder] = {"repeat": repeat, "rate": rate, "latency": latency}
"""The encoders by name."""


def _check_range(x: Tensor, encoder: str) -> None:
    # Only on the CPU: elsewhere, reading the values would wait for the device.
    if x.device.type == "cpu" and x.numel() and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"The encoder {encoder!r} takes inputs from 0 to 1, got {float(x.min()):g} to {float(x.max()):g}. Scale "
            f"them, or take the encoder 'repeat', which feeds any numbers as currents."
        )
