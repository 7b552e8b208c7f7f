"""What all pages draw: curves with bands and bars, in panels side by side, above one legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal, Protocol, TypeGuard

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from altprop.experiment.reports.picture import Drawn
from altprop.experiment.reports.theme import Look, looks_of

_MARKERS_OF_A_LINE = 8
_HATCH = "#ffffff80"


@dataclass(frozen=True)
class Curve:
    """The mean over runs and its standard deviation, at each of some places.

    Attributes:
        x: the places.
        mean: at each.
        deviation: at each.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def ends(self) -> list[float]:
        """The two ends of the band, at each place."""
        return [mean + side * one for side in (-1, 1) for mean, one in zip(self.mean, self.deviation, strict=True)]

    @classmethod
    def over(cls, runs: Sequence[Sequence[float | None]], first: int = 1) -> Curve:
        """The curve of runs whose values are given epoch by epoch; those that are missing or not finite are left out.

        Args:
            runs: the values of each run.
            first: the number of the first epoch.
        """
        longest = max(map(len, runs), default=0)
        values = [[v for run in runs if len(run) > n and is_number(v := run[n])] for n in range(longest)]
        there = {n: one for n, one in enumerate(values, first) if one}
        return cls(
            tuple(there),
            tuple(fmean(one) for one in there.values()),
            tuple(stdev(one) if len(one) > 1 else 0.0 for one in there.values()),
        )


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return value is not None and math.isfinite(value)


class Panel(Protocol):
    """A part of a picture."""

    @property
    def labels(self) -> Sequence[str]:
        """The rules in it."""

    def draw(self, axes: Any, looks: Mapping[str, Look]) -> None:
        """Draw it."""

    def seen(self) -> str:
        """What is seen in it, in a sentence."""


@dataclass(frozen=True)
class Curves:
    """A panel with a curve for each rule.

    Attributes:
        title: above it.
        curves: by rule.
        across: what its places are.
        up: what its values are, where the title does not say it.
        better: whether high values are better or low ones; None: neither.
        bottom: where it is cut off; unset: nowhere.
        top: likewise.
        log: whether to show logarithms.
        place: how a place is written; unset: as a whole number.
        dress: does what else there is to do with the axes.
    """

    title: str
    curves: Mapping[str, Curve]
    across: str = "epoch"
    up: str = ""
    better: Literal["high", "low"] | None = "high"
    bottom: float | None = None
    top: float | None = None
    log: bool = False
    place: Callable[[float], str] | None = None
    dress: Callable[[Any], None] = field(default=lambda axes: None)

    @property
    def labels(self) -> Sequence[str]:
        """See :class:`Panel`."""
        return [label for label, curve in self.curves.items() if curve.x]

    def draw(self, axes: Any, looks: Mapping[str, Look]) -> None:
        """See :class:`Panel`."""
        axes.set(title=self.title, xlabel=self.across, ylabel=self.up)
        if self.place is None:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there is no epoch 1.5
        else:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: self.place(value)))  # type: ignore[misc]
        for number, label in enumerate(looks):
            if label in self.labels:
                _draw_curve(axes, label, self.curves[label], looks[label], number)
        if self.log:
            axes.set_yscale("log")
        axes.set_ylim(bottom=self.bottom, top=self.top)
        self.dress(axes)

    def seen(self) -> str:
        """See :class:`Panel`."""
        ends = {label: self.curves[label].mean[-1] for label in self.labels}
        ordered = sorted(ends, key=lambda label: ends[label], reverse=self.better != "low")
        order = "best first" if self.better else "highest first"
        places = [x for curve in self.curves.values() for x in curve.x]
        first, last = map(self.place or "{:g}".format, (min(places), max(places)))
        what = f"{self.title}, {self.up}" if self.up else self.title
        values = ", ".join(f"{label} {ends[label]:.3g}" for label in ordered)
        return f"{what}, at {self.across} {first} to {last}. At the end, {order}: {values}."


def _draw_curve(axes: Any, label: str, curve: Curve, look: Look, number: int) -> None:
    x, mean, deviation = map(np.array, (curve.x, curve.mean, curve.deviation))
    line = look.line
    if len(x) == 1:
        line["marker"] = look.marker or "o"
    # Markers of lines that lie on each other are not in the same places.
    apart = max(1, len(x) // _MARKERS_OF_A_LINE)
    axes.plot(x, mean, label=label, markevery=(number % apart, apart), **line)
    axes.fill_between(x, mean - deviation, mean + deviation, color=look.color, alpha=0.15, linewidth=0)


@dataclass(frozen=True)
class Bars:
    """A panel with groups of bars, one for each rule.

    Attributes:
        title: above it.
        heights: by rule and group; None where there is none.
        dress: does what else there is to do with the axes.
    """

    title: str
    heights: Mapping[str, Mapping[str, float | None]]
    dress: Callable[[Any], None] = field(default=lambda axes: None)

    @property
    def labels(self) -> Sequence[str]:
        """See :class:`Panel`."""
        return list(self.heights)

    @property
    def groups(self) -> list[str]:
        """The names of the groups."""
        return list(dict.fromkeys(name for own in self.heights.values() for name in own))

    def draw(self, axes: Any, looks: Mapping[str, Look]) -> None:
        """See :class:`Panel`."""
        width = 0.8 / len(self.heights)
        for number, (label, own) in enumerate(self.heights.items()):
            places = np.arange(len(self.groups)) + (number - (len(self.heights) - 1) / 2) * width
            look = looks[label]
            axes.bar(
                places,
                [own.get(name) or 0.0 for name in self.groups],
                width * 0.92,
                facecolor=look.color,
                edgecolor=_HATCH,
                linewidth=0,
                hatch=look.hatch,
            )
        axes.set_xticks(range(len(self.groups)), self.groups, rotation=0 if len(self.groups) < 6 else 35)
        axes.set(title=self.title)
        axes.grid(axis="x", visible=False)
        self.dress(axes)

    def seen(self) -> str:
        """See :class:`Panel`."""
        rules = (
            f"{label} {', '.join(f'{name} {value:.3g}' for name, value in own.items() if value is not None)}"
            for label, own in self.heights.items()
        )
        return f"{self.title}: {'; '.join(rules)}."


def side_by_side(
    panels: Sequence[Panel], labels: Sequence[str], *, across: int = 3, size: tuple[float, float] = (3.6, 3.1)
) -> Drawn | None:
    """Draw panels in rows, and below them all a legend; None if there is nothing in any of them.

    Args:
        panels: what to draw.
        labels: all rules, in the order in which they get their looks.
        across: how many panels there are in a row at most.
        size: of a panel, in inches.
    """
    panels = [panel for panel in panels if panel.labels]
    if not panels:
        return None
    looks = looks_of(labels)
    shown = [label for label in looks if any(label in panel.labels for panel in panels)]
    columns = min(across, len(panels))
    rows, in_a_line = -(-len(panels) // columns), max(2, min(4, len(shown)))
    width = max(size[0] * columns, 6)
    figure = Figure(figsize=(width, size[1] * rows + 0.22 * -(-len(shown) // in_a_line)))
    places = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for panel, axes in zip(panels, places, strict=False):
        panel.draw(axes, looks)
    for unused in places[len(panels) :]:
        unused.remove()
    _legend(figure, {label: looks[label] for label in shown}, min(in_a_line, len(shown)))
    return Drawn(figure, " ".join(panel.seen() for panel in panels))


def _legend(figure: Figure, looks: Mapping[str, Look], columns: int) -> None:
    """A legend outside the panels, with the line, the marker and the colour of each rule."""
    handles = [Line2D([], [], label=label, **look.line) for label, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
