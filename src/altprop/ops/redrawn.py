"""Random magnitudes that are redrawn whenever a weight has changed.

What is remembered of the draws is a tensor of three whole numbers on the weight's device: a seed, how many draws there
were, and a fingerprint of the weight at the last one. Each draw is a function of seed and number. It takes no
generator, so that torch's random state does not move, no device is waited for, and ``torch.compile`` can trace it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def first_draw(weight: Tensor, generator: torch.Generator | None) -> Tensor:
    """The initial state, seeded from ``generator`` or torch's global one."""
    device = generator.device if generator is not None else torch.device("cpu")
    seed = torch.randint(2**31, (), generator=generator, device=device).to(weight.device)
    return torch.stack([seed, torch.zeros_like(seed), _fingerprint(weight)])


def draw_for(weight: Tensor, draws: Tensor) -> Tensor:
    """The state to remember now: one draw further if ``weight`` has changed since the last."""
    seed, number, last = draws.unbind()
    fingerprint = _fingerprint(weight)
    return torch.stack([seed, number + (fingerprint != last), fingerprint])


def magnitudes(weight: Tensor, draws: Tensor, distribution: str) -> Tensor:
    """The present draw of |M|, with E M² = 1.

    Args:
        weight: gives the shape and the dtype.
        draws: what is remembered.
        distribution: of M: ``"normal"`` or ``"uniform"``.

    Returns:
        The magnitudes, of the weight's shape and dtype.
    """
    index = torch.arange(weight.numel(), dtype=torch.int32, device=weight.device)
    key = _mixed(_mixed(draws[0].to(torch.int32)) + draws[1].to(torch.int32))
    hashed = _mixed(index ^ key)
    # 23 bits, so that the halves below are exact in float32 and the result is never 1.
    unit = hashed.bitwise_right_shift_(9).bitwise_and_(0x7FFFFF).float().add_(0.5)
    if distribution == "normal":
        drawn = torch.erfinv(unit.mul_(2.0**-23)).mul_(math.sqrt(2))
    else:
        drawn = unit.mul_(math.sqrt(3) * 2.0**-23)
    return drawn.view(weight.shape).to(weight.dtype)


def _fingerprint(weight: Tensor) -> Tensor:
    # Of the values in float32, so that a change of precision is no update. A sum of whole numbers is the same in every
    # order, so that no device disagrees.
    return weight.float().contiguous().view(torch.int32).sum(dtype=torch.int64)


def _mixed(x: Tensor) -> Tensor:
    """A hash of 32 bits, lowbias32: shifts and products that can be undone, so that no two numbers meet."""
    x = (x ^ (x >> 16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D)
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= -0x7B935975
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x
