"""Fixed random projections from the outputs to a hidden layer: how they are drawn, laid out and applied."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import torch
from torch import Tensor

from altprop._feedback_init import Init, Skew, init_feedback_

Spread = Literal["dense", "channel"]
Layout = Literal["dense", "channel", "shared", "position"]

_LARGEST = 2**28  # entries of one matrix: 1 GiB in float32


def draw(
    shape: tuple[int, int],
    key: str,
    seed: int,
    *,
    init: Init,
    normalize: bool,
    skew: Skew | None,
) -> Tensor:
    """Draw a projection B. It depends on the arguments alone, not on torch's random state or on what was drawn before.

    Args:
        shape: (outputs, features).
        key: the name of the layer.
        seed: of all of a model's projections.
        init: as in :func:`altprop._feedback_init.init_feedback_`, the outputs being what B sums over.
        normalize: divide by √features.
        skew: as in :func:`altprop._feedback_init.init_feedback_`.
    """
    if shape[0] * shape[1] > _LARGEST:
        raise ValueError(
            f"A dense projection from {shape[0]} outputs to the {shape[1]} entries of what enters {key!r} would take "
            f"{shape[0] * shape[1] * 4 / 2**30:.1f} GiB. Use projection='channel', which has one row per channel."
        )
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    outputs, features = shape
    B = init_feedback_(torch.empty(shape), init, fan_in=outputs, fan_out=features, skew=skew, generator=generator)
    return B / math.sqrt(features) if normalize else B


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
    source = samples_of(source, h)
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


def samples_of(source: torch.Size, h: torch.Size) -> torch.Size:
    """The shape of what is projected, with its first two dimensions as one where ``h`` has them so.

    In a spiking network the outputs are (steps, batch, outputs), and a hidden layer sees (steps · batch, ...).
    """
    folds = len(source) > 2 and h[0] != source[0] and h[0] == source[0] * source[1]
    return torch.Size((h[0], *source[2:])) if folds else source


def features_of(h: torch.Size, layout: Layout) -> int:
    """The number of columns of B."""
    if layout == "dense":
        return h[1:].numel()
    return h[1] if layout == "channel" else h[-1]


def outputs_of(source: torch.Size, h: torch.Size, layout: Layout) -> int:
    """The number of rows of B."""
    source = samples_of(source, h)
    return source[-1] if layout == "position" else source[1:].numel()


def project(source: Tensor, B: Tensor, h: torch.Size, layout: Layout) -> Tensor:
    """B·source, in the shape of h_l. A signal that positions share is divided by √positions: its norm stays.

    Args:
        source: the error, or the one-hot targets, of shape (batch, ..., outputs).
        B: of shape (outputs, features).
        h: the shape of h_l.
        layout: as :func:`layout_of` gives it.
    """
    source = source.reshape(samples_of(source.shape, h))
    flat = source.reshape(-1, B.shape[0]) if layout == "position" else source.flatten(1)
    signal = flat.to(B.dtype) @ B
    if layout in ("dense", "position"):
        return signal.reshape(h)
    places = h[2:] if layout == "channel" else h[1:-1]
    signal = signal / math.sqrt(places.numel())
    ones = (1,) * len(places)
    signal = signal.reshape(h[0], h[1], *ones) if layout == "channel" else signal.reshape(h[0], *ones, h[-1])
    return signal.expand(h)
