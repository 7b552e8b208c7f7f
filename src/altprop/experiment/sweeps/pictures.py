"""The pictures of a sweep: what was reached, what mattered, and what each value gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from statistics import median
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from optuna import Study
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from altprop.experiment.reports.picture import Drawn, Picture, picture
from altprop.experiment.reports.theme import MUTED, SERIES
from altprop.experiment.sweeps.results import SweepResults, SweepTrial
from altprop.experiment.sweeps.space import Range

_ENOUGH = 2  # complete trials that there must be, for a picture to say something
_SIZE = (9.0, 3.8)
_ACROSS = 3
_RATIO_OF_A_LOG = 20.0

# As dark at one end as at the other: both are seen on a light page and on a dark one.
_SHADES = LinearSegmentedColormap.from_list("blue to orange", ["#2f7fc1", "#8a7a78", "#d5661f"])


@dataclass(frozen=True)
class _Sweep:
    study: Study
    results: SweepResults

    @property
    def tune_on(self) -> str:
        return self.results.plan.section.tune_on

    @cached_property
    def trials(self) -> list[SweepTrial]:
        """The complete ones, as they were begun."""
        return [one for one in self.results.trials if one.state == "complete" and one.value is not None]

    @cached_property
    def values(self) -> np.ndarray:
        return np.array([trial.value for trial in self.trials], dtype=float)

    @cached_property
    def best(self) -> SweepTrial:
        return min(self.trials, key=lambda trial: trial.value or 0.0)

    @cached_property
    def varied(self) -> dict[str, _Axis]:
        """What was searched, and was not the same in all trials."""
        axes = {
            key: _Axis.of([trial.values.get(key) for trial in self.trials], log=isinstance(part, Range) and part.log)
            for key, part in self.results.plan.space.parts.items()
        }
        return {key: axis for key, axis in axes.items() if len(set(axis.places)) > 1}


@dataclass(frozen=True)
class _Axis:
    """The values of one key, as places on an axis.

    Attributes:
        places: of each trial.
        names: of the places 0, 1, 2, …; empty if the places are the values themselves.
        log: whether equal ratios are equally far apart.
    """

    places: tuple[float, ...]
    names: tuple[str, ...]
    log: bool

    @classmethod
    def of(cls, values: Sequence[Any], *, log: bool) -> _Axis:
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            numbers = tuple(map(float, values))
            return cls(numbers, (), log or (min(numbers) > 0 and max(numbers) > _RATIO_OF_A_LOG * min(numbers)))
        words = [str(value) for value in values]
        names = tuple(dict.fromkeys(words))
        return cls(tuple(float(names.index(word)) for word in words), names, log=False)

    @property
    def shares(self) -> np.ndarray:
        """The places, from 0 to 1."""
        places = np.log(self.places) if self.log else np.array(self.places)
        return np.asarray((places - places.min()) / (places.max() - places.min()))

    @property
    def ends(self) -> tuple[str, str]:
        """What stands at the lowest place and at the highest."""
        return (self.names[0], self.names[-1]) if self.names else (f"{min(self.places):.3g}", f"{max(self.places):.3g}")


def sweep_pictures(study: Study, results: SweepResults) -> list[Picture]:
    """Draw all that there is to show.

    Args:
        study: what Optuna knows of the sweep.
        results: what came out of it.
    """
    sweep = _Sweep(study, results)
    if len(sweep.trials) < _ENOUGH:
        return []
    drawn = (
        picture(name, title, caption.format(tune_on=sweep.tune_on), partial(draw, sweep))
        for name, (title, caption, draw) in _PICTURES.items()
    )
    return [one for one in drawn if one is not None]


def _history(sweep: _Sweep) -> Drawn:
    figure, (axes,) = _panels(1)
    numbers = [trial.trial for trial in sweep.trials]
    axes.plot(numbers, sweep.values, linestyle="", marker="o", color=SERIES[0], label="each trial")
    axes.step(numbers, list(accumulate(sweep.values, min)), where="post", color=SERIES[1], label="the best so far")
    axes.set(xlabel="trial", ylabel=sweep.tune_on)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=2)
    return Drawn(
        figure,
        f"The {sweep.tune_on} of {len(numbers)} complete trials: {sweep.values.min():.4g} at best, by trial "
        f"{sweep.best.trial}; {median(sweep.values):.4g} in the middle, {sweep.values.max():.4g} at worst.",
    )


def _importance(sweep: _Sweep) -> Drawn | None:
    keys = list(sweep.study.get_trials(deepcopy=False)[sweep.best.number].params)
    varied = [key for key in keys if key in sweep.varied]
    if not varied or len(set(sweep.values)) == 1:
        return None
    shares = get_param_importances(sweep.study, evaluator=FanovaImportanceEvaluator(seed=0), params=varied)
    figure, (axes,) = _panels(1)
    axes.barh(list(shares)[::-1], list(shares.values())[::-1], height=0.6, color=SERIES[0])
    axes.set(xlabel="share of the differences", xlim=(0, 1))
    axes.grid(axis="y", visible=False)
    listed = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
    return Drawn(figure, f"What the differences in {sweep.tune_on} go back to: {listed}.")


def _slice(sweep: _Sweep) -> Drawn | None:
    if not sweep.varied:
        return None
    figure, panels = _panels(len(sweep.varied))
    shades = _shades(range(len(sweep.trials)))
    for (key, axis), axes in zip(sweep.varied.items(), panels, strict=True):
        axes.scatter(axis.places, sweep.values, c=shades, s=22, linewidths=0)
        axes.set(xlabel=key, ylabel=sweep.tune_on)
        if axis.log:
            ends = min(axis.places), max(axis.places)
            axes.set_xscale("log")
            axes.set_xticks(ticks := np.geomspace(*ends, 3), [f"{tick:.2g}" for tick in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
        if axis.names:
            axes.set_xticks(range(len(axis.names)), axis.names, rotation=0 if len(axis.names) < 5 else 35)
    best = ", ".join(f"{key} {sweep.best.values[key]}" for key in sweep.varied)
    return Drawn(figure, f"The {sweep.tune_on} by {', '.join(sweep.varied)}. The best trial has {best}.")


def _parallel(sweep: _Sweep) -> Drawn | None:
    if len(sweep.varied) < 2:
        return None
    figure, (axes,) = _panels(1)
    order = sweep.values.argsort()[::-1]  # the best are on top
    heights = np.array([axis.shares for axis in sweep.varied.values()])
    for trial, shade in zip(order, _shades(range(len(order))), strict=True):
        axes.plot(heights[:, trial], color=shade, linewidth=1.2, alpha=0.8)
    names = [f"{key}\n{axis.ends[0]} to {axis.ends[1]}" for key, axis in sweep.varied.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks([0, 1], ["lowest", "highest"])
    axes.vlines(range(len(names)), 0, 1, color=MUTED, linewidth=0.8)
    axes.grid(visible=False)
    place = ", ".join(f"{key} {sweep.best.values[key]}" for key in sweep.varied)
    return Drawn(
        figure, f"A line for each of {len(order)} trials, through {', '.join(sweep.varied)}. The best: {place}."
    )


def _epochs(sweep: _Sweep) -> Drawn | None:
    found = [one.intermediate_values for one in sweep.study.get_trials(deepcopy=False) if one.intermediate_values]
    if not found:
        return None
    figure, (axes,) = _panels(1)
    last = np.array([values[max(values)] for values in found])
    for values, shade in zip(found, _shades(last.argsort()[::-1].argsort()), strict=True):
        places = sorted(values)
        marker = "o" if len(places) == 1 else None
        axes.plot(places, [values[n] for n in places], color=shade, linewidth=1.2, marker=marker)
    axes.set(xlabel="epoch", ylabel=sweep.tune_on)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return Drawn(
        figure,
        f"The {sweep.tune_on} by epoch, a line for each of {len(found)} trials, which end between {last.min():.4g} and "
        f"{last.max():.4g}, after {min(map(len, found))} to {max(map(len, found))} epochs.",
    )


_PICTURES: dict[str, tuple[str, str, Callable[[_Sweep], Drawn | None]]] = {
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
    "slice": (
        "Value by value",
        "Each complete trial, by each of its values: blue ones came early, orange ones late.",
        _slice,
    ),
    "parallel": (
        "Trial by trial",
        "A line for each complete trial: blue ones are the worst, orange the best.",
        _parallel,
    ),
    "epochs": (
        "While training",
        "The {tune_on} after each epoch, of the first network of each trial, from blue for the worst to orange for the "
        "best; the lines of trials that were stopped end early.",
        _epochs,
    ),
}


def _panels(count: int) -> tuple[Figure, list[Any]]:
    columns = min(_ACROSS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] if rows == 1 else 3.0 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _shades(ranks: Iterable[int]) -> list[Any]:
    """A shade for each of some ranks."""
    ranks = np.array(list(ranks))
    shades: list[Any] = list(_SHADES(ranks / max(1, ranks.max())))
    return shades
