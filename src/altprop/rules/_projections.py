"""Fixed random projections from the outputs to a hidden layer: how they are drawn, laid out and applied."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Init = Literal[
    "normal", "uniform", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "lecun_normal",
    "lecun_uniform", "orthogonal",
]  # fmt: skip
Skew = Literal["positive", "negative"]
Spread = Literal["dense", "channel"]
Layout = Literal["dense", "channel", "shared", "position"]

_LARGEST = 2**28  # entries of one matrix: 1 GiB in float32


def _scaled(draw: Callable[..., Tensor], variance: Callable[[int, int], float]) -> Callable[..., None]:
    def fill(B: Tensor, generator: torch.Generator) -> None:
        outputs, features = B.shape
        draw(B, generator=generator).mul_(math.sqrt(variance(outputs, features)))

    return fill


def _standard_normal(B: Tensor, generator: torch.Generator) -> Tensor:
    return B.normal_(generator=generator)


def _standard_uniform(B: Tensor, generator: torch.Generator) -> Tensor:
    return B.uniform_(-math.sqrt(3), math.sqrt(3), generator=generator)


def _orthogonal(B: Tensor, generator: torch.Generator) -> None:
    nn.init.orthogonal_(B, generator=generator)


# The variance of an entry, from the number of outputs (what B sums over) and of features (of the hidden layer).
_VARIANCE: dict[str, Callable[[int, int], float]] = {
    "kaiming": lambda outputs, features: 2 / outputs,
    "xavier": lambda outputs, features: 2 / (outputs + features),
    "lecun": lambda outputs, features: 1 / outputs,
}
_STANDARD = {"normal": _standard_normal, "uniform": _standard_uniform}
INITS: dict[str, Callable[..., object]] = {
    **_STANDARD,
    "orthogonal": _orthogonal,
    **{
        f"{name}_{shape}": _scaled(draw, variance)
        for name, variance in _VARIANCE.items()
        for shape, draw in _STANDARD.items()
    },
}
"""By name, what fills a matrix of shape (outputs, features) in place from a generator."""


def draw(
    shape: tuple[int, int],
    key: str,
    seed: int,
    *,
    init: str | Callable[[Tensor], object],
    normalize: bool,
    skew: Skew | None,
) -> Tensor:
    """Draw a projection B. It depends on the arguments alone, not on torch's random state or on what was drawn before.

    Args:
        shape: (outputs, features).
        key: the name of the layer.
        seed: of all of a model's projections.
        init: a name in :data:`INITS`, or a function that fills a tensor in place.
        normalize: divide by √features.
        skew: shift the mean by the largest magnitude, so that no entry is below ("positive") or above 0 ("negative").
    """
    if shape[0] * shape[1] > _LARGEST:
        raise ValueError(
            f"A dense projection from {shape[0]} outputs to the {shape[1]} entries of what enters {key!r} would take "
            f"{shape[0] * shape[1] * 4 / 2**30:.1f} GiB. Use projection='channel', which has one row per channel."
        )
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=7).digest()
    B = torch.empty(shape)
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    if callable(init):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            init(B)
    else:
        INITS[init](B, generator)
    if normalize:
        B /= math.sqrt(shape[1])
    if skew is not None:
        B += B.abs().max() if skew == "positive" else -B.abs().max()
    return B


def layout_of(h: torch.Size, source: torch.Size, channels_first: bool, spread: Spread) -> Layout:
    """How B reaches the entries of h_l.

    Args:
        h: the shape of h_l, the batch first.
        source: the shape of what is projected, the outputs last: the error, or the one-hot targets.
        channels_first: the layer that h_l enters is a convolution.
        spread: for a convolution, whether each position has projections of its own or all share those of the channel.

    Returns:
        ``"dense"``: a row of B for each output, a column for each entry of h_l. ``"channel"``: a column for each
        channel, the signal spread over the positions. ``"shared"``: the same for h_l = (batch, positions, features).
        ``"position"``: the outputs have the same positions, and each projects to its own.
    """
    if h[0] != source[0]:
        raise ValueError(
            f"A direct rule needs the batch first in the outputs and in every hidden layer: it met outputs or targets "
            f"for a batch of {source[0]} and a hidden layer of shape {tuple(h)}. Name the modules to cut at with "
            f"blocks=[...], and build attention and recurrent layers with batch_first=True."
        )
    if len(h) < 3:
        return "dense"
    if channels_first:
        return spread
    return "position" if len(source) == len(h) and source[:-1] == h[:-1] else "shared"


def features_of(h: torch.Size, layout: Layout) -> int:
    """The number of columns of B."""
    if layout == "dense":
        return h[1:].numel()
    return h[1] if layout == "channel" else h[-1]


def outputs_of(source: torch.Size, layout: Layout) -> int:
    """The number of rows of B."""
    return source[-1] if layout == "position" else source[1:].numel()


def project(source: Tensor, B: Tensor, h: torch.Size, layout: Layout) -> Tensor:
    """B·source, in the shape of h_l. A signal that positions share is divided by √positions: its norm stays.

    Args:
        source: the error, or the one-hot targets, of shape (batch, ..., outputs).
        B: of shape (outputs, features).
        h: the shape of h_l.
        layout: as :func:`layout_of` gives it.
    """
    flat = source.reshape(-1, B.shape[0]) if layout == "position" else source.flatten(1)
    signal = flat.to(B.dtype) @ B
    if layout in ("dense", "position"):
        return signal.reshape(h)
    places = h[2:] if layout == "channel" else h[1:-1]
    signal = signal / math.sqrt(places.numel())
    ones = (1,) * len(places)
    signal = signal.reshape(h[0], h[1], *ones) if layout == "channel" else signal.reshape(h[0], *ones, h[-1])
    return signal.expand(h)
