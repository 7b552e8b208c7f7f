"""Random magnitudes that change whenever a weight does, and not before: noise without a state."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hashed_magnitudes(weight: Tensor, seed: Tensor, distribution: str) -> Tensor:
    """Draw |M| with E M² = 1, as a function of ``seed`` and of the bits of the weight in float32.

    The draw is new after each update and the same between updates: in every forward pass of an accumulated gradient,
    under activation checkpointing, in every process of a distributed run, after a restart. It needs no generator, so
    torch's random state does not move and ``torch.compile`` can trace it.

    Args:
        weight: any shape, floating point.
        seed: a whole number, without dimensions, on the weight's device.
        distribution: of M: ``"normal"`` or ``"uniform"``.

    Returns:
        The magnitudes, of the weight's shape and dtype.
    """
    # A sum of whole numbers is the same in every order; float sums are not.
    bits = weight.float().contiguous().view(torch.int32).sum(dtype=torch.int64)
    key = ((bits * 0x9E3779B97F4A7C1 + seed * 0x2545F4914F6CDD1D) >> 24).to(torch.int32)
    index = torch.arange(weight.numel(), dtype=torch.int32, device=weight.device)
    hashed = _mixed(_mixed(index) ^ key)
    # 23 bits, so that the halves below are exact in float32 and the result is never 1.
    unit = (((hashed >> 9) & 0x7FFFFF).float() + 0.5) / 2**23
    magnitudes = torch.erfinv(unit) * math.sqrt(2) if distribution == "normal" else unit * math.sqrt(3)
    return magnitudes.view(weight.shape).to(weight.dtype)


def _mixed(x: Tensor) -> Tensor:
    """A hash of 32 bits: shifts and products, each of which can be undone, so that no two numbers meet."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975
    return x ^ ((x >> 16) & 0xFFFF)
