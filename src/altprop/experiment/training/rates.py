"""Choosing a learning rate for each rule, from one grid, without a look at the test data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from altprop.experiment.data.choose import choose
from altprop.experiment.data.examples import Chosen, Splits, Task
from altprop.experiment.errors import InputError
from altprop.experiment.metrics import METRICS
from altprop.experiment.recipes.rules import recipe_of_cell
from altprop.experiment.records.study import Trial
from altprop.experiment.training.fit import fit_job
from altprop.experiment.training.framework import TORCH, Framework
from altprop.experiment.training.job import Job
from altprop.experiment.training.machine import Machine
from altprop.experiment.training.watching import Watch

_SHARE = 0.2
"""Of the training data, what is held out to choose by where there are no validation data."""


def trial_jobs(job: Job, grid: Iterable[float], splits: Splits) -> list[Job]:
    """A job for each learning rate of the grid, which measures and logs nothing on its way.

    Args:
        job: of a rule, from the seed that the choice is made by.
        grid: the rates.
        splits: of :func:`held_out`.
    """
    quiet = job.recipe.track.model_copy(update={"metrics": (), "loggers": (), "top_k": ()})
    recipe = job.recipe.model_copy(update={"track": quiet})
    rule = recipe.single_rule
    return [replace(job, recipe=recipe_of_cell(recipe, rule, lr), splits=splits) for lr in grid]


def held_out(splits: Splits) -> Splits:
    """The data to choose a rate by: what is held out is there for validation, and in the place of the test data.

    Args:
        splits: of the study. Without validation data a fifth of the training data is held out, always the same.

    Raises:
        InputError: there are too few samples.
    """
    if splits.validation is not None:
        return replace(splits, test=splits.validation)
    if len(splits.train) < 3:
        raise InputError(f"{splits.name}: {len(splits.train)} training samples are too few to hold some out.")
    chosen, rest = choose(splits.train.targets, _SHARE, 0, "rates")
    validation = Chosen.of(splits.train, chosen)
    return replace(splits, train=Chosen.of(splits.train, rest), validation=validation, test=validation)


def try_rate(job: Job, machine: Machine, watch: Watch, before: int, framework: Framework = TORCH) -> Trial:
    """Train at one learning rate.

    Args:
        job: of :func:`trial_jobs`.
        machine: where.
        watch: told of each step.
        before: how many steps it was told of already.
        framework: what trains.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    options: dict[str, Any] = {"folder": None, "resume": False, "on_epoch": None}
    cell = fit_job(job, machine, watch=watch, before=before, framework=framework, **options)
    if cell.status == "interrupted":
        raise KeyboardInterrupt
    if cell.status == "diverged":
        return Trial(rule=job.label, lr=job.lr, score=None, loss=None)
    last = cell.history[-1]
    return Trial(rule=job.label, lr=job.lr, score=last.val_score, loss=last.train_loss)


def best_rate(trials: Iterable[Trial], task: Task) -> float:
    """The rate with the best score, of equal ones that with the lower loss; if all diverged, the lowest."""
    trials = list(trials)
    finished = [trial for trial in trials if trial.score is not None and trial.loss is not None]
    if not finished:
        return min(trial.lr for trial in trials)
    sign = -1 if METRICS[task].lower_is_better else 1
    return max(finished, key=lambda trial: (sign * (trial.score or 0.0), -(trial.loss or 0.0))).lr
