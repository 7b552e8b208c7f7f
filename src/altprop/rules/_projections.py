"""Fixed random projections from the outputs to a hidden layer: how they are drawn, laid out and applied."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import torch
from torch import Tensor

from altprop._feedback_init import Init, Skew, init_feedback_

Spread = Literal["dense", "channel"]
Layout = Literal["dense", "channel", "shared", "position", "nothing"]

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


def layout_of(h: torch.Size, source: torch.Size, axis: int, channels_first: bool, spread: Spread) -> Layout | None:
    """How B reaches the entries of h_l.

    Args:
        h: the shape of h_l, the batch first.
        source: the shape of what is projected: the error, or the one-hot targets.
        axis: of the batch, in ``source``.
        channels_first: the layer that h_l enters is a convolution.
        spread: for a convolution, whether each position has projections of its own or all share those of the channel.

    Returns:
        ``"dense"``: a row of B for each output, a column for each entry of h_l. ``"channel"``: a column for each
        channel, the signal spread over the positions. ``"shared"``: the same for h_l = (batch, positions, features).
        ``"position"``: the outputs have the same positions, and each projects to its own. None: h_l has another batch.
    """
    if not channels_first and len(h) > 2 and source[:-1] == h[:-1]:
        return "position"
    if h[0] != source[axis]:
        if not folds(h, source, axis):
            return None
        source, axis = torch.Size((h[0], *source[2:])), 0
    if len(h) < 3:
        return "dense"
    if channels_first:
        return spread
    return "position" if axis == 0 and len(source) == len(h) and source[:-1] == h[:-1] else "shared"


def folds(h: torch.Size, source: torch.Size, axis: int) -> bool:
    """Whether ``h`` has the first two dimensions of what is projected as one.

    In a spiking network the outputs are (steps, batch, outputs), and a hidden layer sees (steps · batch, ...).
    """
    return len(source) > 2 and h[0] != source[axis] and h[0] == source[0] * source[1]


def samples_first(source: torch.Size, h: torch.Size, axis: int, layout: Layout) -> torch.Size:
    """The shape of what is projected, with the samples, or their steps, first as in ``h``."""
    if layout == "position" and source[:-1] == h[:-1]:
        return source
    if folds(h, source, axis):
        return torch.Size((h[0], *source[2:]))
    return torch.Size((source[axis], *source[:axis], *source[axis + 1 :]))


def features_of(h: torch.Size, layout: Layout) -> int:
    """The number of columns of B."""
    if layout == "dense":
        return h[1:].numel()
    return h[1] if layout == "channel" else h[-1]


def outputs_of(source: torch.Size, h: torch.Size, axis: int, layout: Layout) -> int:
    """The number of rows of B."""
    source = samples_first(source, h, axis, layout)
    return source[-1] if layout == "position" else source[1:].numel()


def project(source: Tensor, B: Tensor, h: torch.Size, axis: int, layout: Layout, share: Tensor | None = None) -> Tensor:
    """B·source, in the shape of h_l. A signal that positions share is divided by √positions: its norm stays.

    Args:
        source: the error, or the one-hot targets.
        B: of shape (outputs, features).
        h: the shape of h_l.
        axis: of the batch, in ``source``.
        layout: as :func:`layout_of` gives it.
        share: what each position gets of a signal that positions share, of shape (batch, positions), where some of the
            positions are padding.
    """
    if axis and h[0] == source.shape[axis] and not (layout == "position" and source.shape[:-1] == h[:-1]):
        source = source.movedim(axis, 0)
    # As rows of B, even where the batch and the steps are one dimension.
    signal = source.reshape(h[:-1].numel() if layout == "position" else h[0], B.shape[0]).to(B.dtype) @ B
    if layout in ("dense", "position"):
        signal = signal.reshape(h)
        return signal if share is None else signal * share.unsqueeze(1)
    places = h[2:] if layout == "channel" else h[1:-1]
    ones = (1,) * len(places)
    signal = signal.reshape(h[0], h[1], *ones) if layout == "channel" else signal.reshape(h[0], *ones, h[-1])
    if share is not None:
        return signal * (share.unsqueeze(1) if layout == "channel" else share.unsqueeze(-1))
    return (signal / math.sqrt(places.numel())).expand(h)
