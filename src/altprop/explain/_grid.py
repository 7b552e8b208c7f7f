"""Explanations side by side: inputs by rules."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from altprop.explain._colors import Relevance, Scale, finite, painted, size_of, spread


def grid(
    inputs: Relevance,
    relevances: Mapping[str, Relevance],
    *,
    labels: Sequence[str] = (),
    size: float = 1.1,
    across: int | None = None,
    cmap: str | Colormap | None = None,
    symmetric: bool = True,
    percentile: float = 100.0,
    scale: Scale = "image",
) -> Figure:
    """Draw several explanations side by side: a row for each input, a column for it and for each rule.

    Args:
        inputs: what was explained, of shape (batch, channels, height, width). Three channels are shown in colour,
            others averaged in grey.
        relevances: by the names of the rules, each of shape (batch, channels, height, width).
        labels: a text for each row, such as the true and the explained class.
        size: the width of a picture, in inches.
        across: how many rules to draw side by side at most, the others below. Unset: all.
        cmap: as for :func:`colors`.
        symmetric: as for :func:`colors`.
        percentile: as for :func:`colors`.
        scale: ``"image"``: each picture has a scale of its own; ``"all"``: the whole grid has one.

    Returns:
        The figure: show it in a notebook, or give it to :func:`save`. It looks as matplotlib's ``rcParams`` say, and
        pyplot does not know of it.

    Raises:
        TypeError: as for :func:`colors`.
        ValueError: as for :func:`colors`; or the shapes do not fit each other, or there is nothing to draw.
    """
    pictures = _shown(inputs)
    if not relevances:
        raise ValueError("A grid needs the relevance by at least one rule, got none.")
    if labels and len(labels) != len(pictures):
        raise ValueError(f"A grid needs a label for each of {len(pictures)} inputs, got {len(labels)} labels.")
    summed = [_column(name, relevance, pictures) for name, relevance in relevances.items()]
    shades = painted(torch.cat(summed), cmap=cmap, symmetric=symmetric, percentile=percentile, scale=scale)
    columns = dict(zip(relevances, np.split(shades, len(relevances)), strict=True))
    return _draw(pictures, columns, labels, size, _at_most(across, len(columns)))


def _shown(inputs: Relevance) -> np.ndarray:
    """Inputs as pictures for a grid, uint8, of shape (batch, height, width, 3)."""
    values = finite(inputs, "The input")
    if values.dim() != 4 or not values.numel():
        raise ValueError(
            f"The inputs of a grid have the shape (batch, channels, height, width), got {tuple(values.shape)}."
        )
    flat = values if values.shape[1] == 3 else values.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return (spread(flat) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _column(name: str, relevance: Relevance, pictures: np.ndarray) -> Tensor:
    values = finite(relevance, f"The relevance by {name!r}")
    if values.dim() != 4 or (len(values), *values.shape[2:]) != pictures.shape[:3]:
        raise ValueError(
            f"The relevance by {name!r} does not fit the inputs: it has the shape {tuple(values.shape)}, there are "
            f"{len(pictures)} images of {size_of(pictures[0, ..., 0])}."
        )
    return values.sum(1)


def _at_most(across: int | None, count: int) -> int:
    """How many of ``count`` rules stand side by side, so that all blocks are about as wide."""
    if across is None:
        return count
    if across < 1:
        raise ValueError(f"A grid has room for one rule or more side by side, got across={across}.")
    return math.ceil(count / math.ceil(count / across))


def _draw(
    inputs: np.ndarray, columns: Mapping[str, np.ndarray], labels: Sequence[str], size: float, across: int
) -> Figure:
    names = list(columns)
    blocks = [["input", *names[first : first + across]] for first in range(0, len(names), across)]
    count, height, width = inputs.shape[:3]
    # Strips, as of vectors, are drawn higher than they are.
    tall = max(height / width, 0.3)
    head = 0.16 * max(_wrapped(name).count("\n") + 1 for name in names)
    margin = 0.085 * max([len(line) for label in labels for line in label.split("\n")], default=0)
    shape = (size * (across + 1) + margin, (size * tall * count + head) * len(blocks))
    figure = Figure(figsize=shape, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))
    panels = figure.subplots(count * len(blocks), across + 1, squeeze=False)
    for number, block in enumerate(blocks):
        rows = panels[number * count : (number + 1) * count]
        for axes, label in zip(rows[:, 0], labels, strict=False):
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
        for place, (column, name) in enumerate(zip(rows.T, block, strict=False)):
            column[0].set_title(_wrapped(name), fontsize=8, fontweight="normal")
            _fill(column, columns[name] if place else inputs, "equal" if tall == height / width else "auto")
        for axes in rows[:, len(block) :].flatten():
            axes.remove()
    return figure


def _fill(column: np.ndarray, pictures: np.ndarray, aspect: str) -> None:
    for axes, picture in zip(column, pictures, strict=True):
        axes.imshow(picture, interpolation="nearest", aspect=aspect)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)


def _wrapped(name: str, width: int = 14) -> str:
    """A long name in lines, broken after ``_``, ``:``, ``,`` or a space."""
    lines = [""]
    for part in re.findall(r"[^_:, ]*[_:, ]?", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)
