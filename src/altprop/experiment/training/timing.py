"""How long a step of training takes under each rule, as a ratio to a rule that takes its turns beside it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

import torch

from altprop import targets
from altprop.experiment.records.summary import StepTime
from altprop.experiment.seeding import seeded
from altprop.experiment.training.job import Job

_ROUNDS = 60
_WARM_UP = 2
_PATIENCE = 15.0

Step = Callable[[], None]
Clock = Callable[[], float]


def step_times(
    jobs: Mapping[str, Job], reference: Job, device: torch.device, clock: Clock = time.process_time
) -> dict[str, StepTime]:
    """The time of a training step of each job, relative to a reference.

    In each round each of them takes a step, in an order that changes, and the ratios are taken within the round, so
    that a machine that slows down slows both sides of a ratio. The steps are those of the plain loop (zero_grad,
    forward, backward, optimizer) on one batch and fresh networks. On a CPU, this process's CPU time counts, and not
    what other programs take; on CUDA, the time between two events.

    Args:
        jobs: what to time.
        reference: what it is compared with; one of ``jobs``, or another.
        device: where.
        clock: gives seconds, on a CPU.

    Returns:
        The ratios, by the keys of ``jobs``; none where the clock is too coarse. Large networks are given fewer rounds.
    """
    # Rules draw numbers, when they are attached or later: torch's own random state stays where it is.
    with seeded(0):
        timer = _timer(device, clock)
        all_jobs = list({id(job): job for job in (reference, *jobs.values())}.values())
        rounds = _rounds([_stepper(job, device) for job in all_jobs], timer)
    places = {label: all_jobs.index(job) for label, job in jobs.items()}
    ratios = {label: [one[place] / one[0] for one in rounds if one[0]] for label, place in places.items()}
    return {label: StepTime.of(own) for label, own in ratios.items() if own}


def _rounds(steps: list[Step], timer: Callable[[Step], float]) -> list[dict[int, float]]:
    """The seconds of each step in each round, without the first rounds."""
    rounds: list[dict[int, float]] = []
    shuffled, start = random.Random(0), time.perf_counter()
    while len(rounds) < _WARM_UP + _ROUNDS:
        order = shuffled.sample(range(len(steps)), len(steps))
        rounds.append({number: timer(steps[number]) for number in order})
        if len(rounds) > _WARM_UP and time.perf_counter() - start > _PATIENCE:
            break
    return rounds[_WARM_UP:]


def _stepper(job: Job, device: torch.device) -> Step:
    model, objective = job.model().to(device), job.objective()
    job.rule().attach(model)
    optimizer = job.optimizer(model)
    for group in optimizer.param_groups:
        # The weights stay where they are, so that nothing can diverge; a step takes as long.
        group["lr"] = 0.0
    x, y = (part.to(device) for part in job.splits.train.batch(job.batches.order(job.seed, 1)[0], 1))

    def step() -> None:
        optimizer.zero_grad()
        with targets(y):
            objective(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _timer(device: torch.device, clock: Clock) -> Callable[[Step], float]:
    """What takes a step, and gives its seconds."""

    def on_clock(step: Step) -> float:
        read = clock if device.type == "cpu" else time.perf_counter
        start = read()
        step()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return read() - start

    def on_cuda(step: Step) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        step()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return on_cuda if device.type == "cuda" else on_clock
