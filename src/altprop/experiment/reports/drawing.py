"""The pictures of a report: curves of all runs, what was measured, decision boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from altprop.experiment.records.folder import plain_name
from altprop.experiment.records.study import HIDDEN_COSINE
from altprop.experiment.reports.boundaries import draw_kept, kept_of, pictures_made
from altprop.experiment.reports.curves import band
from altprop.experiment.reports.picture import Picture, png
from altprop.experiment.reports.records import Network, Point, Source
from altprop.experiment.reports.tables import Group
from altprop.experiment.reports.theme import DARK, LIGHT, Theme, lines_of

_LOSS = "Training loss"
_TITLES = {
    HIDDEN_COSINE: "Cosine with backprop's updates, hidden layers",
    "bp_cosine": "Cosine with backprop's updates, all layers",
    "norm_ratio": "Length: times backprop's updates",
    "weight_norm": "Length of the weights",
    "sparsity": "Zeros in the updates",
    "weight_alignment": "Forward and feedback weights: cosine",
}
_MEASURED = "Mean over seeds, epoch by epoch; the bands are one standard deviation to either side."
_CURVES = f"{_MEASURED} Losses can be compared where the objective is the same."

_BOUNDARIES = "The class that a network of each rule gives to each point of the plane, and the test data."


def pictures_of(group: Group, sources: Sequence[Source], notes: list[str]) -> list[Picture]:
    """Draw all that there is to show of a data set.

    Args:
        group: its runs.
        sources: all runs.
        notes: is told what cannot be drawn.
    """
    drawn = [
        *_picture(group, "curves", "Learning curves", _CURVES, partial(draw_curves, group)),
        *_picture(group, "measured", "What was measured", _MEASURED, partial(draw_measured, group)),
    ]
    if not group.is_2d:
        return drawn
    kept = kept_of(group, sources, notes)
    draw = partial(draw_kept, kept)
    drawn += _picture(group, "boundaries", "Decision boundaries", _BOUNDARIES, draw, narrow=True)
    return [*drawn, *pictures_made(group, [one for one in sources if one.name not in kept])]


def _picture(
    group: Group, name: str, title: str, caption: str, draw: Callable[[Theme], Figure | None], *, narrow: bool = False
) -> list[Picture]:
    light, dark = png(draw, LIGHT), png(draw, DARK)
    if light is None or dark is None:
        return []
    return [
        Picture(f"{name}-{plain_name(group.title)}", f"{title}: {group.title}", caption, light, dark, narrow=narrow)
    ]


def draw_curves(group: Group, theme: Theme) -> Figure | None:
    """Draw scores and training loss, epoch by epoch: the mean over seeds, and a band of one standard deviation."""
    panels = [
        (f"Test {group.metric}", lambda point: point.test),
        (f"Validation {group.metric}", lambda point: point.validation),
        (_LOSS, lambda point: point.train_loss),
    ]
    return _draw_panels(group, panels, theme)


def draw_measured(group: Group, theme: Theme) -> Figure | None:
    """Draw what was measured, likewise."""
    names = dict.fromkeys(name for _, point in _points(group) for name in point.tracked)
    return _draw_panels(group, [(_TITLES.get(name, name), partial(_tracked, name)) for name in names], theme)


def _tracked(name: str, point: Point) -> float | None:
    return point.tracked.get(name)


def _draw_panels(
    group: Group, panels: Sequence[tuple[str, Callable[[Point], float | None]]], theme: Theme
) -> Figure | None:
    """A panel for each figure that any epoch has, at most three in a row, above a legend for all."""
    there = [(title, value) for title, value in panels if any(map(_is_there, (value(p) for _, p in _points(group))))]
    if not there:
        return None
    labels = group.labels()
    looks = lines_of(labels, theme)
    columns, legend = min(3, len(there)), -(-len(labels) // 4)
    rows = -(-len(there) // columns)
    figure = Figure(figsize=(3.6 * columns if columns > 1 else 6, 3.1 * rows + 0.22 * legend))
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for (title, value), panel in zip(there, axes, strict=False):
        panel.set(title=title, xlabel="epoch")
        for entry, label in zip(group.entries, labels, strict=True):
            band(panel, [_values(network, value) for network in entry.networks], looks[label])
        _scale(panel, group, value)
    for unused in axes[len(there) :]:
        unused.remove()
    # Not all panels have all lines.
    handles = {line.get_label(): line for panel in axes[: len(there)] for line in panel.get_lines()}
    shown = [label for label in labels if label in handles]
    figure.legend([handles[label] for label in shown], shown, loc="outside lower center", ncols=min(4, len(shown)))
    return figure


def _values(network: Network, value: Callable[[Point], float | None]) -> list[float | None]:
    return [one if _is_there(one := value(point)) else None for point in network.points]


def _is_there(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _scale(axes: Any, group: Group, value: Callable[[Point], float | None]) -> None:
    """Losses that fall far are shown by their logarithms; bands of scores end at 1, and R² below -0.2 is cut off."""
    title = axes.get_title()
    values = [one for _, point in _points(group) if (one := value(point)) is not None and math.isfinite(one)]
    if title == _LOSS and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
    if title.endswith(("accuracy", "R²")):
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.25), max(min(high, 1.03), 0.0))


def _points(group: Group) -> list[tuple[Network, Point]]:
    return [(one, point) for entry in group.entries for one in entry.networks for point in one.points]
