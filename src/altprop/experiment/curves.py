"""Pictures of training: what changed from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.labels import base_name
from altprop.experiment.registry import REFERENCE
from altprop.experiment.reports.theme import Theme, lines
from altprop.experiment.results import Results, Run


def learning_curves(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    """The test score and the training loss of each rule, epoch by epoch."""
    runs = _in_view(results)
    losses = [epoch.train_loss for run in runs for epoch in run.epochs]
    if not losses:
        return None
    figure = Figure(figsize=(9, 3.5))
    scores, training = figure.subplots(1, 2)
    for rule, line in lines(results, theme).items():
        band(scores, [[epoch.score for epoch in run.epochs] for run in results.runs_of(rule)], line)
        band(training, [[epoch.train_loss for epoch in run.epochs] for run in results.runs_of(rule)], line)
    scores.set(title=f"Test {results.metric}", xlabel="epoch")
    scores.set_ylim(**_limits(runs))
    training.set(title=f"Training loss ({results.objective})", xlabel="epoch")
    if min(losses) > 0 and max(losses) > 10 * min(losses):
        training.set_yscale("log")
        training.set_ylim(0.7 * min(losses), 1.4 * max(losses))
    scores.legend(loc="best", ncols=1 + (len(results.settings.rules) > 5))
    return figure


def _in_view(results: Results) -> list[Run]:
    """The runs that a picture has to show: those of a rule that fell behind the control may run out of it."""
    lost = {summary.rule for summary in results.summaries if summary.beats_control == "no"}
    runs = [run for run in results.runs if run.rule not in lost and run.epochs]
    return runs or [run for run in results.runs if run.epochs]


def _limits(runs: Sequence[Run]) -> dict[str, float]:
    """Limits that show the differences: the first few epochs, where scores are low, may be cut off."""
    scores = [epoch.score for run in runs for epoch in run.epochs[len(run.epochs) // 8 :]]
    low, high = max(min(scores), -0.2), max(*scores, -0.1)
    return {"bottom": low - 0.08 * (high - low) - 0.002, "top": min(1.0, high) + 0.08 * (high - low) + 0.002}


def band(axes: Any, runs: Sequence[Sequence[float | None]], line: dict[str, Any]) -> None:
    """Draw the mean over runs, and a band of one standard deviation to either side.

    Args:
        axes: where to.
        runs: the values of each run, epoch by epoch; None where there is none.
        line: how it looks.
    """
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 1.5
    epochs = range(1, 1 + max(map(len, runs), default=0))
    values = [[v for run in runs[:] if len(run) >= n and (v := run[n - 1]) is not None] for n in epochs]
    there = [(n, fmean(v), stdev(v) if len(v) > 1 else 0.0) for n, v in zip(epochs, values, strict=True) if v]
    if not there:
        return
    x, mean, spread = np.array(there).T
    axes.plot(x, mean, marker="o" if len(x) == 1 else None, **line)
    axes.fill_between(x, mean - spread, mean + spread, color=line["color"], alpha=0.18, linewidth=0)


def alignment(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    """The angle between each rule's updates and backprop's: over time, and for each layer."""
    over_time = {
        rule: [[angle(epoch.cosine) for epoch in run.epochs] for run in results.runs_of(rule)]
        for rule in results.settings.rules
        if base_name(rule) != REFERENCE
    }
    layers = {summary.rule: summary.layer_cosines for summary in results.summaries if summary.rule in over_time}
    return _angles(over_time, layers, lines(results, theme), "backprop's update")


def weight_alignment(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    """The angle between forward and feedback weights: over time, and for each layer."""
    over_time = {
        rule: [[angle(epoch.weight_cosine) for epoch in run.epochs] for run in results.runs_of(rule)]
        for rule in results.settings.rules
    }
    layers = {summary.rule: summary.layer_weight_cosines for summary in results.summaries}
    return _angles(over_time, layers, lines(results, theme), "forward weights")


def angle(cosine: float | None) -> float | None:
    """An angle in degrees."""
    return None if cosine is None else math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _angles(
    over_time: dict[str, list[list[float | None]]],
    layers: dict[str, dict[str, float | None]],
    looks: dict[str, dict[str, Any]],
    what: str,
) -> Figure | None:
    there = [rule for rule in layers if any(value is not None for value in layers[rule].values())]
    if not there:
        return None
    figure = Figure(figsize=(9, 3.3))
    left, right = figure.subplots(1, 2)
    for rule in there:
        band(left, over_time[rule], looks[rule])
    left.axhline(90, color=looks[there[0]]["color"], alpha=0.3, linewidth=0.8)
    left.set(title="All layers, while training", xlabel="epoch", ylabel=f"angle with {what}")
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
