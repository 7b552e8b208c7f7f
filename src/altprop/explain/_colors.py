"""Relevance as colours."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap
from torch import Tensor

from altprop.explain._scaling import finite, scaled

Relevance = Tensor | np.ndarray
Channels = Literal["sum", "keep"]
Scale = Literal["image", "all"]

SHAPES = "(height, width), (channels, height, width) or (batch, channels, height, width)"


def colors(
    relevance: Relevance,
    *,
    cmap: str | Colormap | None = None,
    symmetric: bool = True,
    percentile: float = 100.0,
    scale: Scale = "image",
    channels: Channels = "sum",
) -> np.ndarray:
    """Turn relevance into colours.

    Args:
        relevance: of shape (height, width), (channels, height, width) or (batch, channels, height, width).
        cmap: a colour map of matplotlib or its name, such as ``"seismic"``, ``"bwr"`` or ``"coolwarm"``. Unset:
            ``"RdBu_r"``, or ``"Reds"`` where ``symmetric`` is False.
        symmetric: whether the map's middle stands for zero, and its ends for the same size with either sign. If not,
            its beginning stands for zero, and the relevance must not be negative.
        percentile: the percentage of the pixels that are not clipped: 99.5 keeps a few extreme ones from paling the
            rest.
        scale: ``"image"``: the largest absolute value of each image has the full colour; ``"all"``: that of the batch.
        channels: ``"sum"`` adds them up; ``"keep"`` shows them side by side, in a row.

    Returns:
        RGB, uint8, of shape (height, width, 3), or (batch, height, width, 3). Relevance that is zero everywhere has the
        colour of zero.

    Raises:
        TypeError: the relevance is not made of real numbers, or ``cmap`` is no colour map.
        ValueError: it has another shape, holds NaN, or is negative and ``symmetric`` is False; or an argument is wrong.

    Example:
        >>> import torch
        >>> colors(torch.tensor([[-2.0, 0.0, 2.0]]), cmap="bwr").tolist()
        [[[0, 0, 255], [255, 254, 254], [255, 0, 0]]]
    """
    values, batched = pixels(relevance, channels)
    shades = painted(values, cmap=cmap, symmetric=symmetric, percentile=percentile, scale=scale)
    return shades if batched else shades[0]


def pixels(relevance: Relevance, channels: str) -> tuple[Tensor, bool]:
    """Relevance of shape (batch, height, width), and whether it came as a batch."""
    if channels not in ("sum", "keep"):
        raise ValueError(f"channels is 'sum' or 'keep', got {channels!r}.")
    values = finite(relevance)
    if values.dim() not in (2, 3, 4) or not values.numel():
        raise ValueError(f"Relevance to be drawn has the shape {SHAPES}, got {tuple(values.shape)}.")
    batch = values.reshape(*[1] * (4 - values.dim()), *values.shape)
    # Side by side: (batch, channels, height, width) becomes (batch, height, channels × width).
    flat = batch.sum(1) if channels == "sum" else batch.transpose(1, 2).flatten(2)
    return flat, values.dim() == 4


def painted(
    values: Tensor, *, cmap: str | Colormap | None, symmetric: bool, percentile: float, scale: str
) -> np.ndarray:
    """The colours of relevance of shape (batch, height, width): RGB, uint8."""
    if scale not in ("image", "all"):
        raise ValueError(f"scale is 'image' or 'all', got {scale!r}.")
    low = float(values.min())
    if not symmetric and low < 0:
        raise ValueError(
            f"With symmetric=False relevance must not be negative, but its smallest value is {low:.3g}. "
            "Take symmetric=True, or the absolute value."
        )
    parts = scaled(values, percentile=percentile, together=scale == "all")
    colormap = _colormap(("RdBu_r" if symmetric else "Reds") if cmap is None else cmap)
    shades: np.ndarray = colormap(((parts + 1) / 2 if symmetric else parts).numpy(), bytes=True)
    return shades[..., :3]


def _colormap(name: str | Colormap) -> Colormap:
    if isinstance(name, Colormap):
        return name
    if not isinstance(name, str):
        raise TypeError(f"cmap is a colour map of matplotlib, or the name of one, got {type(name).__name__}.")
    known = list(mpl.colormaps)
    if name not in known:
        close = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"There is no colour map {name!r}.{hint} Maps with a neutral middle: RdBu_r, seismic, bwr, coolwarm; maps "
            "that begin with a neutral colour, for symmetric=False: Reds, hot, magma."
        )
    return mpl.colormaps[name]


def spread(values: Tensor) -> Tensor:
    """Spread each image of a batch from 0 to 1; one of a single colour is black."""
    low, high = values.flatten(1).amin(1), values.flatten(1).amax(1)
    low, reach = (one.reshape(-1, *[1] * (values.dim() - 1)) for one in (low, high - low))
    return (values - low) / reach.where(reach > 0, 1.0)


def grey(inputs: Relevance) -> np.ndarray:
    """Images as grey values from 0 to 1, of shape (height, width) or (batch, height, width)."""
    values = finite(inputs, "The input")
    if values.dim() not in (2, 3, 4) or not values.numel():
        raise ValueError(f"An input to be drawn has the shape {SHAPES}, got {tuple(values.shape)}.")
    flat = values if values.dim() == 2 else values.mean(-3)
    return spread(flat.reshape(-1, *flat.shape[-2:])).reshape(flat.shape).numpy()


def size_of(picture: np.ndarray) -> str:
    return "×".join(map(str, picture.shape[-2:]))
