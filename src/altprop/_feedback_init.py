"""Initialisation schemes of feedback matrices, by name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from altprop._switches import seeded, without_gradients

Init = str | Callable[[Tensor], object]
Skew = Literal["positive", "negative"]

# The variance that a scheme gives to each entry, from fan-in and fan-out.
_VARIANCES: dict[str, Callable[[float, float], float]] = {
    "kaiming": lambda fan_in, fan_out: 2 / fan_in,
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
_SHAPES = ("normal", "uniform")

INITS = (*_SHAPES, *(f"{scheme}_{shape}" for scheme in _VARIANCES for shape in _SHAPES), "orthogonal")
"""The schemes by name. ``"normal"`` is N(0, 1) and ``"uniform"`` U(-1, 1), whatever the fans."""


def check_init(init: Init) -> None:
    """Raise a ValueError that lists the schemes unless ``init`` is one of them or a callable."""
    if not callable(init) and init not in INITS:
        raise ValueError(f"There is no init {init!r}. Choose a callable that fills a tensor, or one of: {INITS}.")


def spread_of(init: Init, fan_in: float, fan_out: float) -> tuple[str, float]:
    """The distribution of a scheme whose entries are independent: ``"normal"`` or ``"uniform"``, and its deviation.

    Args:
        init: one of :data:`INITS` but ``"orthogonal"``.
        fan_in: the number of values that each output of the matrix sums over.
        fan_out: the number of outputs that each input reaches.

    Returns:
        The shape of the distribution, whose mean is 0, and its standard deviation.

    Raises:
        ValueError: ``init`` is a callable or ``"orthogonal"``: no such distribution is known.
    """
    check_init(init)
    if callable(init) or init == "orthogonal":
        raise ValueError(f"This needs independent entries with a known spread, and init={init!r} gives none.")
    scheme, _, shape = init.rpartition("_")
    if scheme:
        return shape, math.sqrt(_VARIANCES[scheme](fan_in, fan_out))
    return shape, 1.0 if shape == "normal" else 1 / math.sqrt(3)


@without_gradients
def init_feedback_(
    tensor: Tensor,
    init: Init = "lecun_uniform",
    *,
    fan_in: float,
    fan_out: float,
    skew: Skew | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill ``tensor`` with random feedback weights.

    The values are drawn in float32 on the generator's device (else the CPU), so that they do not depend on where the
    model is and in which precision.

    Args:
        tensor: any shape, floating point; filled in place.
        init: one of :data:`INITS`, or a callable that fills a float32 tensor of that shape in place.
        fan_in: the number of values that each output of the matrix sums over.
        fan_out: the number of outputs that each input reaches.
        skew: shift the values so that none is negative (``"positive"``) or none is positive (``"negative"``).
        generator: drawn from, so that the global random state does not move; by default torch's global generator.

    Returns:
        ``tensor``.

    Raises:
        ValueError: ``init`` or ``skew`` is unknown.

    Example:
        >>> import torch
        >>> B = init_feedback_(torch.empty(3, 4), "xavier_uniform", fan_in=4, fan_out=3, skew="positive")
        >>> bool((B >= 0).all())
        True
    """
    check_init(init)
    if skew not in ("positive", "negative", None):
        raise ValueError(f"skew must be 'positive', 'negative' or None, got {skew!r}.")
    if tensor.is_meta:
        return tensor
    drawn = torch.empty(tensor.shape, device=generator.device if generator is not None else "cpu")
    if callable(init):
        _call(init, drawn, generator)
    elif init == "orthogonal":
        nn.init.orthogonal_(drawn, generator=generator)
    else:
        shape, deviation = spread_of(init, fan_in, fan_out)
        bound = math.sqrt(3) * deviation
        if shape == "normal":
            drawn.normal_(0.0, deviation, generator=generator)
        else:
            drawn.uniform_(-bound, bound, generator=generator)
    if skew is not None:
        drawn -= drawn.min() if skew == "positive" else drawn.max()
    return tensor.copy_(drawn)


def _call(init: Callable[[Tensor], object], drawn: Tensor, generator: torch.Generator | None) -> None:
    if generator is None:
        init(drawn)
        return
    # A callable draws from the global generator, which is seeded from ours for that time.
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    seeded(seed, init)(drawn)


def make_generator(seed: int | None, generator: torch.Generator | None) -> torch.Generator | None:
    """The generator that a ``seed=`` and a ``generator=`` argument stand for; None is torch's global one.

    Raises:
        ValueError: both are given.
    """
    if seed is None:
        return generator
    if generator is not None:
        raise ValueError("Give a seed or a generator, not both.")
    # Hashed: with a model drawn from the same seed, the first feedback weights would be copies of its weights.
    digest = hashlib.blake2b(f"feedback {seed}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))
