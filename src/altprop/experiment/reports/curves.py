"""Pictures of training: what changed from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from altprop.experiment.labels import base_name
from altprop.experiment.records.study import HIDDEN_COSINE, Cell, Study
from altprop.experiment.registry import REFERENCE
from altprop.experiment.reports.theme import Theme, lines_of


def learning_curves(study: Study, theme: Theme) -> Figure | None:
    """The test score and the training loss of each rule, epoch by epoch."""
    cells = _in_view(study)
    losses = [one.train_loss for cell in cells for one in cell.history if one.train_loss is not None]
    if not losses:
        return None
    figure = Figure(figsize=(9, 3.5))
    scores, training = figure.subplots(1, 2)
    for rule, line in lines_of(study.rules, theme).items():
        cells_of = study.cells_of(rule)
        band(scores, [[one.test_score for one in cell.epochs] for cell in cells_of], line, first=0)
        band(training, [[one.train_loss for one in cell.history] for cell in cells_of], line)
    scores.set(title=f"Test {study.metric}", xlabel="epoch")
    scores.set_ylim(**_limits(cells))
    training.set(title=f"Training loss ({study.objective})", xlabel="epoch")
    if min(losses) > 0 and max(losses) > 10 * min(losses):
        training.set_yscale("log")
        training.set_ylim(0.7 * min(losses), 1.4 * max(losses))
    scores.legend(loc="best", ncols=1 + (len(study.rules) > 5))
    return figure


def _in_view(study: Study) -> list[Cell]:
    """The cells that a picture has to show: those of a rule that fell behind the control may run out of it."""
    leads = {summary.rule: summary.over_control for summary in study.summaries}
    lost = {rule for rule, lead in leads.items() if lead and lead.gain < 0}
    cells = [cell for cell in study.cells if cell.rule not in lost and cell.history]
    return cells or [cell for cell in study.cells if cell.history]


def _limits(cells: Sequence[Cell]) -> dict[str, float]:
    """Limits that show the differences: the first few epochs, where scores are low, may be cut off."""
    scores = [
        one.test_score for cell in cells for one in cell.history[len(cell.history) // 8 :] if one.test_score is not None
    ]
    low, high = max(min(scores), -0.2), max(*scores, -0.1)
    return {"bottom": low - 0.08 * (high - low) - 0.002, "top": min(1.0, high) + 0.08 * (high - low) + 0.002}


def band(axes: Any, runs: Sequence[Sequence[float | None]], line: dict[str, Any], *, first: int = 1) -> None:
    """Draw the mean over runs, and a band of one standard deviation to either side.

    Args:
        axes: where to.
        runs: the values of each run, epoch by epoch; None where there is none.
        line: how it looks.
        first: the number of the first epoch.
    """
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 1.5
    longest = max(map(len, runs), default=0)
    values = [[v for run in runs if len(run) > n and (v := run[n]) is not None] for n in range(longest)]
    there = [(n, fmean(v), stdev(v) if len(v) > 1 else 0.0) for n, v in enumerate(values, first) if v]
    if not there:
        return
    x, mean, spread = np.array(there).T
    axes.plot(x, mean, marker="o" if len(x) == 1 else None, **line)
    axes.fill_between(x, mean - spread, mean + spread, color=line["color"], alpha=0.18, linewidth=0)


def alignment(study: Study, theme: Theme) -> Figure | None:
    """The angle between each rule's updates and backprop's: over time, and for each layer."""
    rules = [rule for rule in study.rules if base_name(rule) != REFERENCE]
    layers = {rule: study.summary(rule).layer_cosines for rule in rules}
    return _angles(study, HIDDEN_COSINE, layers, theme, "backprop's update", "Hidden layers, while training")


def weight_alignment(study: Study, theme: Theme) -> Figure | None:
    """The angle between forward and feedback weights: over time, and for each layer."""
    layers = {summary.rule: summary.layer_weight_cosines for summary in study.summaries}
    return _angles(study, "weight_alignment", layers, theme, "forward weights", "All layers, while training")


def angle(cosine: float | None) -> float | None:
    """An angle in degrees."""
    return None if cosine is None else math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _angles(
    study: Study, name: str, layers: dict[str, dict[str, float | None]], theme: Theme, what: str, title: str
) -> Figure | None:
    there = [rule for rule in layers if any(value is not None for value in layers[rule].values())]
    if not there:
        return None
    looks = lines_of(study.rules, theme)
    figure = Figure(figsize=(9, 3.3))
    left, right = figure.subplots(1, 2)
    for rule in there:
        over_time = [[angle(one.tracked.get(name)) for one in cell.epochs] for cell in study.cells_of(rule)]
        band(left, over_time, looks[rule], first=0)
    left.axhline(90, color=looks[there[0]]["color"], alpha=0.3, linewidth=0.8)
    left.set(title=title, xlabel="epoch", ylabel=f"angle with {what}")
    names = list(dict.fromkeys(name for rule in there for name in layers[rule]))
    width = 0.8 / len(there)
    for number, rule in enumerate(there):
        heights = [angle(layers[rule].get(name)) or 0.0 for name in names]
        places = np.arange(len(names)) + (number - (len(there) - 1) / 2) * width
        right.bar(places, heights, width * 0.92, color=looks[rule]["color"], label=rule)
    right.set_xticks(range(len(names)), names, rotation=0 if len(names) < 6 else 35)
    right.set(title="Each layer, mean over training")
    right.grid(axis="x", visible=False)
    for axes in (left, right):
        axes.set_ylim(0, max(95.0, left.get_ylim()[1], right.get_ylim()[1]))
        axes.set_yticks(range(0, 181, 30) if axes.get_ylim()[1] > 100 else range(0, 91, 15))
        axes.yaxis.set_major_formatter("{x:g}°")
    left.legend(loc="best")
    return figure
