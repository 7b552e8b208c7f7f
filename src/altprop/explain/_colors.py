"""Scale relevance to numbers from -1 to 1, and map those to colours."""

from __future__ import annotations

import math
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import Colormap
from torch import Tensor

from altprop._names import did_you_mean

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
    """Relevance as (batch, height, width), and whether it was given as a batch."""
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
        hint = did_you_mean(name, known, cutoff=0.5)
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


def finite(relevance: Any, what: str = "The relevance") -> Tensor:
    """Relevance as float64 on the CPU.

    Args:
        relevance: a tensor on any device, an array, or nested lists of numbers.
        what: what to call it in errors.

    Raises:
        TypeError: it is not made of real numbers.
        ValueError: some of it is NaN or infinite.
    """
    try:
        # Arrays are copied: torch takes none that are read-only or run backwards.
        values = torch.as_tensor(relevance.copy() if hasattr(relevance, "copy") else relevance).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} must be a tensor or an array, got {type(relevance).__name__}: {error}") from error
    if values.is_complex():
        raise TypeError(f"{what} must be made of real numbers, got {values.dtype}.")
    values = values.to(device="cpu", dtype=torch.float64)
    broken = int((~values.isfinite()).sum())
    if broken:
        raise ValueError(
            f"{what} holds {broken} of {values.numel()} values that are NaN or infinite. Look for them in the model's "
            f"weights and inputs; a rule with a larger epsilon divides by less small numbers."
        )
    return values


def scaled(values: Tensor, *, percentile: float, together: bool) -> Tensor:
    """Divide by the largest absolute value, so that all lies between -1 and 1 and zero stays zero.

    Args:
        values: of shape (batch, ...), float64.
        percentile: what counts as the largest: the smallest absolute value that this percentage of the values does not
            exceed. Larger ones are clipped.
        together: whether the whole batch has one scale; otherwise each of its members has its own.

    Raises:
        ValueError: ``percentile`` is not above 0 and at most 100.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"A percentile is above 0 and at most 100, got {percentile}.")
    if together:
        return scaled(values.unsqueeze(0), percentile=percentile, together=False).squeeze(0)
    limits = torch.tensor([_limit(one, percentile) for one in values], dtype=torch.float64)
    return (values / limits.reshape(-1, *[1] * (values.dim() - 1))).clamp(-1, 1)


def _limit(values: Tensor, percentile: float) -> float:
    """The absolute value that gets the full colour; 1 where all is zero."""
    sizes = values.abs().flatten()
    if not sizes.numel():
        return 1.0
    limit = float(sizes.kthvalue(math.ceil(percentile / 100 * sizes.numel())).values)
    # If the percentile is zero, scale by the few nonzero values.
    return limit or float(sizes.max()) or 1.0
