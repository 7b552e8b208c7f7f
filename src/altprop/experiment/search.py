"""Choosing a learning rate for each rule, from one grid, without a look at the test data."""

from __future__ import annotations

from collections.abc import Iterable

from altprop.experiment.data.dataset import Task
from altprop.experiment.metrics import METRICS
from altprop.experiment.old_training import Job, train_network
from altprop.experiment.results import Trial
from altprop.experiment.training.watching import Watch


def try_rate(job: Job, watch: Watch) -> Trial:
    """Train at one learning rate.

    Args:
        job: what to train, on data whose test part was held out from the training data.
        watch: told of each step.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    run, _ = train_network(job, watch)
    if run.interrupted:
        raise KeyboardInterrupt
    if run.divergence:
        return Trial(rule=job.rule, lr=job.lr, score=None, loss=None)
    return Trial(rule=job.rule, lr=job.lr, score=run.epochs[-1].score, loss=run.epochs[-1].train_loss)


def best_rate(trials: Iterable[Trial], task: Task) -> float:
    """The rate with the best score, of equal ones that with the lower loss; if all diverged, the lowest."""
    trials = list(trials)
    finished = [trial for trial in trials if trial.score is not None and trial.loss is not None]
    if not finished:
        return min(trial.lr for trial in trials)
    sign = -1 if METRICS[task].lower_is_better else 1
    return max(finished, key=lambda trial: (sign * (trial.score or 0.0), -(trial.loss or 0.0))).lr
