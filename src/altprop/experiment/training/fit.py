"""Training one network by a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from altprop._sharding import full_tensor
from altprop.experiment.data.embedded import chosen_parts
from altprop.experiment.data.examples import Splits
from altprop.experiment.data.opening import open_data
from altprop.experiment.metrics import METRICS
from altprop.experiment.recipes import Recipe, check_recipe
from altprop.experiment.records.machine import threads
from altprop.experiment.records.study import WHOLE, Cell, Epoch, Status, StopTraining
from altprop.experiment.training.framework import TORCH, Framework
from altprop.experiment.training.job import Job, check
from altprop.experiment.training.keeping import FolderKeeper, Keeper, NoKeeper, find_saved
from altprop.experiment.training.loop import Loop
from altprop.experiment.training.machine import Machine, make_machine
from altprop.experiment.training.randomness import random_states, set_random_states
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.stepping import NotFiniteError
from altprop.experiment.training.stopping import Stop, best_epoch
from altprop.experiment.training.verdicts import at_chance, dead_units
from altprop.experiment.training.watching import Watch

OnEpoch = Callable[[Epoch], None]

_AGREE_EVERY = 16


def fit(
    recipe: Recipe,
    *,
    seed: int,
    splits: Splits | None = None,
    folder: Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    on_epoch: OnEpoch | None = None,
) -> Cell:
    """Train one network.

    Args:
        recipe: what to do.
        seed: of the initial weights and of the order of the batches.
        splits: what to train on; by default what the recipe names is opened.
        folder: where checkpoints, the history and loggers' files go; None: nothing is written.
        resume: go on from the last good checkpoint in ``folder``, if there is one.
        watch: told of each step.
        on_epoch: called with the figures of each epoch; :class:`StopTraining` raised there ends the training.

    Returns:
        How it went, with the network. A training that diverged, or was stopped by Ctrl-C or SIGTERM, says so in its
        ``status``.

    Raises:
        InputError: the recipe cannot be done, or the checkpoints are of another one; nothing was trained.

    Example:
        >>> trained = fit(Recipe(data="circles", model="8", training={"epochs": 2}), seed=0)
        >>> trained.status, [figures.epoch for figures in trained.history]
        ('finished', [1, 2])
    """
    job = Job(recipe, checked_splits(recipe) if splits is None else splits, seed)
    check(job)
    watch = or_default(watch)
    with threads(recipe.machine.threads):
        machine = make_machine(recipe.machine)
        watch.begin(job.all_steps)
        return fit_job(job, machine, folder=folder, resume=resume, watch=watch, on_epoch=on_epoch)


def checked_splits(recipe: Recipe, own: Splits | None = None) -> Splits:
    """The data that a recipe names, or what it asks for of your own.

    Args:
        recipe: which is checked.
        own: data in the place of those that it names.

    Raises:
        InputError: something is wrong with the recipe or with the data.
    """
    check_recipe(recipe, own=own is not None)
    return open_data(recipe.data) if own is None else chosen_parts(own, recipe.data)


def _plain(job: Job, network: nn.Module) -> nn.Module:
    """A trained network on the CPU, whole in every process. All must call this."""
    if job.recipe.machine.strategy != "fsdp":
        return network.cpu()
    state = {name: full_tensor(tensor.detach()).cpu() for name, tensor in network.state_dict().items()}
    plain = job.blank_model()
    plain.load_state_dict(state)
    return plain


@dataclass
class _Ending:
    status: Status = "finished"
    message: str = ""
    step: int | None = None


def fit_job(
    job: Job,
    machine: Machine,
    *,
    folder: Path | None,
    resume: bool,
    watch: Watch,
    on_epoch: OnEpoch | None,
    before: int = 0,
    framework: Framework = TORCH,
) -> Cell:
    """As :func:`fit`, for a job that was checked; ``before`` is how many steps ``watch`` was told of already."""
    saved, notes = find_saved(folder, job, framework.name) if folder is not None and resume else (None, [])
    keeper = NoKeeper() if folder is None else FolderKeeper(folder, job)
    network = job.model()
    with Stop() as stop, framework.loop(job, machine, network, saved) as loop:
        states = random_states(machine.device)
        watch.reach(before + loop.step)
        keeper.begin(loop)
        set_random_states(states, machine.device)  # loggers may draw
        ending = _run(loop, stop, keeper, watch, on_epoch)
        keeper.end(good=ending.status != "diverged")
        dead = dead_units(loop) if framework is TORCH and ending.status in WHOLE else ""
    best = best_epoch(loop.history, job.monitor, lower=job.lower_is_better)
    cell = Cell(
        rule=job.label,
        seed=job.seed,
        lr=job.lr,
        status=ending.status,
        start=loop.start,
        history=tuple(loop.history),
        seconds=loop.elapsed,
        best_epoch=best.epoch if best else None,
        diverged_at=ending.step,
        message=ending.message,
        model=_plain(job, network).eval(),
    )
    notes += [note for note in (at_chance(job, cell) if cell.counts else "", dead) if note]
    return cell.model_copy(update={"notes": tuple(notes)})


def _run(loop: Loop, stop: Stop, keeper: Keeper, watch: Watch, on_epoch: OnEpoch | None) -> _Ending:
    try:
        loop.begin()
        keeper.started()
        while not (_has_stalled(loop) or (loop.step >= loop.steps and not loop.batch)):
            for _ in loop.run_epoch():
                keeper.after_step()
                _advance(watch, stop)
                if _must_stop(loop, stop):
                    return _Ending("interrupted")
            figures = loop.end_epoch()
            keeper.after_epoch(figures)
            watch.tell(_line(loop.job, figures))
            if on_epoch is not None:
                on_epoch(figures)
    except NotFiniteError as error:
        return _Ending("diverged", _words(loop, error), error.step)
    except StopTraining as reason:
        return _Ending("pruned", str(reason))
    return _Ending("stopped early" if _has_stalled(loop) else "finished")


def _line(job: Job, figures: Epoch) -> str:
    """An epoch of a network, for a log."""
    metric = METRICS[job.splits.task].name
    scores = {
        "training loss": figures.train_loss,
        f"validation {metric}": figures.val_score,
        f"test {metric}": figures.test_score,
    }
    told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if value is not None)
    return f"{job.label}, seed {job.seed}, epoch {figures.epoch}: {told}"


def _advance(watch: Watch, stop: Stop) -> None:
    try:
        watch.advance()
    except KeyboardInterrupt:
        stop.asked = True


def _must_stop(loop: Loop, stop: Stop) -> bool:
    """Whether to stop now: all processes at the same step, or those left would wait for the others for ever."""
    if loop.machine.world_size == 1:
        return stop.asked
    if loop.step % _AGREE_EVERY:
        return False
    asked = torch.tensor(float(stop.asked), device=loop.machine.device)
    return bool(loop.machine.total(asked))


def _has_stalled(loop: Loop) -> bool:
    section = loop.job.recipe.training.early_stopping
    if section is None or not loop.history:
        return False
    best = best_epoch(loop.history, loop.job.monitor, lower=loop.job.lower_is_better, min_delta=section.min_delta)
    return best is not None and loop.history[-1].epoch - best.epoch >= section.patience


def _words(loop: Loop, error: NotFiniteError) -> str:
    clip = "" if loop.job.recipe.training.clip else ", or clipping the norm of the updates (training.clip=3)"
    return (
        f"{loop.job.label} (seed {loop.job.seed}) diverged at step {error.step}, in epoch {loop.epoch}: "
        f"{error.where} is not finite. A learning rate below {loop.job.lr:g} may help{clip}."
    )
