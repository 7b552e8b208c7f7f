"""How long a step of training takes under each rule, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

from altprop import targets
from altprop.experiment.old_training import Job
from altprop.experiment.seeding import seeded

_ROUNDS = 50
_WARM_UP = 3
_PATIENCE = 20.0


def step_times(jobs: Mapping[str, Job]) -> dict[str, float]:
    """The median time of a training step of each job, in seconds.

    The jobs take turns, a step each, so that whatever else the machine does slows all of them alike. The steps are
    those of the plain loop (zero_grad, forward, backward, optimizer) on one batch and fresh networks.

    Args:
        jobs: what to time.

    Returns:
        The seconds, by the keys of ``jobs``. Large networks are given fewer rounds.
    """
    # Rules draw numbers, when they are attached or later: torch's own random state stays where it is.
    with seeded(0):
        return _step_times(jobs)


def _step_times(jobs: Mapping[str, Job]) -> dict[str, float]:
    steps = {label: _stepper(job) for label, job in jobs.items()}
    seconds: dict[str, list[float]] = {label: [] for label in jobs}
    start = time.perf_counter()
    for done in range(_WARM_UP + _ROUNDS):
        for label, step in steps.items():
            seconds[label].append(_time(step, jobs[label].settings.device))
        if done > _WARM_UP and time.perf_counter() - start > _PATIENCE:
            break
    return {label: median(times[_WARM_UP:]) for label, times in seconds.items()}


def _stepper(job: Job) -> Callable[[], None]:
    model, objective = job.model(), job.objective()
    job.make_rule().attach(model)
    optimizer = job.optimizer(model)
    for group in optimizer.param_groups:
        # The weights stay where they are, so that nothing can diverge; a step takes as long.
        group["lr"] = 0.0
    indices = next(job.batches())[0]
    x, y = job.data.x_train[indices], job.data.y_train[indices]

    def step() -> None:
        optimizer.zero_grad()
        with targets(y):
            objective(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _time(step: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    step()
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))
    return time.perf_counter() - start
