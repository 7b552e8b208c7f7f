"""One trial: the networks that it trains, what they reach, and when it is hopeless."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Literal

from optuna import Trial
from optuna.exceptions import UpdateFinishedTrialError
from pydantic import BaseModel, ConfigDict

from altprop.experiment.data.dataset import Task
from altprop.experiment.data.examples import Splits
from altprop.experiment.metrics import METRICS
from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.records.training import EpochFigures, Fit, StopTraining
from altprop.experiment.training.fit import fit

EXECUTIONS = "executions"
"""The attribute of a trial that holds what each of its networks reached."""

TuneOn = Literal["loss", "error", "val_loss", "val_error"]


class Execution(BaseModel):
    """One network that was trained for a trial.

    Attributes:
        seed: of its initial weights and the order of its batches.
        status: how its training ended.
        value: what was optimised; None if it diverged before its first epoch was over.
        epoch: the epoch that ``value`` is from: the last, or the best of a recipe that stops early.
        seconds: how long it took.
        figures: of that epoch, by name. The search does not look at those of the test data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    status: str
    value: float | None
    epoch: int
    seconds: float
    figures: dict[str, float]


class HopelessError(Exception):
    """The trial is not worth going on with; the message says why."""


class TakenOverError(Exception):
    """Others took this worker for dead, and do its trial."""


def tuned(tune_on: TuneOn, task: Task, figures: EpochFigures) -> float:
    """What is optimised, of an epoch: lower is better.

    An error is 1 minus the accuracy, 1 minus R², or the squared error of reconstructions.

    Args:
        tune_on: which figure.
        task: what the data are for.
        figures: of the epoch. Without validation data, ``val_…`` is NaN.
    """
    part = "val" if tune_on.startswith("val_") else "train"
    kind = "loss" if tune_on.endswith("loss") else "score"
    value = getattr(figures, f"{part}_{kind}")
    if value is None:
        return math.nan
    return float(value if kind == "loss" or METRICS[task].lower_is_better else 1 - value)


def run_trial(trial: Trial, recipe: Recipe, splits: Splits) -> float:
    """Train the networks of a trial, one after the other.

    The first is stopped when it does worse than others did at its age; if it is not, all are trained to their end.

    Args:
        trial: told of each epoch of the first network, and of what each reached.
        recipe: of the trial, its values filled in.
        splits: the data.

    Returns:
        The mean over networks of what is optimised.

    Raises:
        HopelessError: the trial was stopped early, or a network diverged.
        TakenOverError: the trial is not this worker's any more.
        KeyboardInterrupt: the training was interrupted.
    """
    search = recipe.search
    assert search is not None  # a sweep has one

    def report(figures: EpochFigures) -> None:
        value = tuned(search.tune_on, splits.task, figures)
        with _still_ours():
            trial.report(value, figures.epoch)
        if trial.should_prune():
            raise StopTraining

    done: list[Execution] = []
    for number in range(search.executions):
        first = number == 0 and search.prune
        seed = recipe.training.seeds[0] + number
        trained = fit(recipe, seed=seed, splits=splits, on_epoch=report if first else None)
        if trained.status == "interrupted":
            raise KeyboardInterrupt
        done.append(_execution(trained, recipe, search.tune_on, splits.task))
        with _still_ours():
            trial.set_user_attr(EXECUTIONS, [one.model_dump() for one in done])
        _check_worth(trained, done[-1])
    return _mean(done)


def _execution(trained: Fit, recipe: Recipe, tune_on: TuneOn, task: Task) -> Execution:
    history = {figures.epoch: figures for figures in trained.history}
    best = trained.best_epoch if recipe.training.early_stopping else None
    epoch = best or max(history, default=0)
    value = tuned(tune_on, task, history[epoch]) if history else math.nan
    return Execution(
        seed=trained.seed,
        status=trained.status,
        value=value if math.isfinite(value) else None,
        epoch=epoch,
        seconds=round(trained.seconds, 3),
        figures=_finite(history[epoch]) if history else {},
    )


def _finite(figures: EpochFigures) -> dict[str, float]:
    known = figures.model_dump(exclude={"epoch", "step"})
    flat = {**known, **(known.pop("tracked", None) or {})}
    return {name: value for name, value in flat.items() if isinstance(value, float) and math.isfinite(value)}


def _check_worth(trained: Fit, execution: Execution) -> None:
    if trained.status == "pruned":
        raise HopelessError(f"stopped after epoch {len(trained.history)}: worse than the median of the others")
    if trained.status == "diverged" or execution.value is None:
        raise HopelessError(trained.message or f"diverged (seed {trained.seed})")


def _mean(done: Sequence[Execution]) -> float:
    return fmean(execution.value for execution in done if execution.value is not None)


@contextmanager
def _still_ours() -> Iterator[None]:
    try:
        yield
    except UpdateFinishedTrialError as error:
        raise TakenOverError from error
