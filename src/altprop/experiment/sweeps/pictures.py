"""Optuna's pictures of a sweep, in the colours of our pages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

from altprop.experiment.reports.picture import Picture, png
from altprop.experiment.reports.theme import DARK, LIGHT, Theme

_ENOUGH = 2  # complete trials that there must be, for a picture to say something
_SIZE = (9.0, 4.0)


def sweep_pictures(study: Study, tune_on: str) -> list[Picture]:
    """Draw all that there is to show.

    Args:
        study: of the sweep.
        tune_on: what was optimised.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < _ENOUGH:
        return []
    varied = [name for name in complete[0].params if len({repr(trial.params.get(name)) for trial in complete}) > 1]
    drawn = []
    for name, (title, caption, plot) in _PICTURES.items():
        light, dark = (png(partial(_draw, plot, study, tune_on, varied), theme) for theme in (LIGHT, DARK))
        if light and dark:
            drawn.append(Picture(name, title, caption.format(tune_on=tune_on), light, dark))
    return drawn


Plot = Callable[[Study, str, list[str]], Any]


def _history(study: Study, tune_on: str, varied: list[str]) -> Any:
    return plots.plot_optimization_history(study, target_name=tune_on)


def _importance(study: Study, tune_on: str, varied: list[str]) -> Any:
    values = {trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if not varied or len(values) == 1:
        return None
    evaluator = FanovaImportanceEvaluator(seed=0)
    return plots.plot_param_importances(study, evaluator=evaluator, params=varied, target_name=tune_on)


def _parallel(study: Study, tune_on: str, varied: list[str]) -> Any:
    return plots.plot_parallel_coordinate(study, params=varied, target_name=tune_on) if len(varied) > 1 else None


def _slice(study: Study, tune_on: str, varied: list[str]) -> Any:
    return plots.plot_slice(study, params=varied, target_name=tune_on) if varied else None


def _epochs(study: Study, tune_on: str, varied: list[str]) -> Any:
    there = any(trial.intermediate_values for trial in study.get_trials(deepcopy=False))
    return plots.plot_intermediate_values(study) if there else None


_PICTURES: dict[str, tuple[str, str, Plot]] = {
    "history": (
        "What was reached",
        "The {tune_on} of each complete trial, in the order in which they were begun, and the best so far.",
        _history,
    ),
    "importance": (
        "What mattered",
        "How much of the differences between trials goes back to each value, by functional analysis of variance. It "
        "holds for the ranges that were searched.",
        _importance,
    ),
    "slice": ("Value by value", "Each complete trial, by each of its values; darker trials came later.", _slice),
    "parallel": ("Trial by trial", "A line for each complete trial; the darker, the better.", _parallel),
    "epochs": (
        "While training",
        "The {tune_on} after each epoch, of the first network of each trial; the lines of trials that were stopped end "
        "early.",
        _epochs,
    ),
}


def _draw(plot: Plot, study: Study, tune_on: str, varied: list[str], theme: Theme) -> Figure | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        axes = plot(study, tune_on, varied)
    if axes is None:
        return None
    figure: Figure = np.ravel(axes)[0].figure
    plt.close(figure)  # pyplot keeps figures until then
    figure.set_size_inches(_SIZE)
    figure.set_facecolor(theme.background)
    figure.suptitle("")  # the page has titles of its own
    for one in figure.axes:
        _dress(one, theme)
    return figure


def _dress(axes: Axes, theme: Theme) -> None:
    """Optuna draws on a grey ground, whatever the style."""
    axes.set_facecolor(theme.background)
    axes.tick_params(colors=theme.muted, labelcolor=theme.text)
    for place in ("left", "center"):
        axes.set_title("", loc=place)
    for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
        text.set_color(theme.text)
    for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
        line.set_color(theme.faint)
    for spine in axes.spines.values():
        spine.set_color(theme.muted)
    # Legends name every trial, or what the axis says already.
    if legend := axes.get_legend():
        legend.remove()
