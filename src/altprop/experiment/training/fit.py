"""Training one network by a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from altprop._sharding import full_tensor
from altprop.experiment.data.examples import Splits
from altprop.experiment.data.opening import open_data
from altprop.experiment.recipes import Recipe, check_recipe
from altprop.experiment.records.machine import threads
from altprop.experiment.records.training import EpochFigures, Fit, Status, StopTraining
from altprop.experiment.training.devices import make_fabric
from altprop.experiment.training.job import Job, check
from altprop.experiment.training.keeping import FolderKeeper, Keeper, NoKeeper, find_saved
from altprop.experiment.training.loop import Loop
from altprop.experiment.training.randomness import all_seeded, random_states, set_random_states
from altprop.experiment.training.snapshots import put_back, put_back_network
from altprop.experiment.training.stepping import NotFiniteError
from altprop.experiment.training.stopping import Stop, best_epoch
from altprop.experiment.training.watching import Watch

OnEpoch = Callable[[EpochFigures], None]

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
) -> Fit:
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
        >>> from altprop.experiment import load_data
        >>> from altprop.experiment.recipes import Recipe, check_recipe
        >>> recipe = Recipe(model={"name": "8"}, training={"epochs": 2})
        >>> trained = fit(recipe, seed=0, splits=Splits.of(load_data("circles")))
        >>> trained.status, [figures.epoch for figures in trained.history]
        ('finished', [1, 2])
    """
    job = Job(recipe, checked_splits(recipe) if splits is None else splits, seed)
    check(job)
    watch = watch or Watch()
    with threads(recipe.machine.threads):
        fabric = make_fabric(recipe.machine)
        watch.begin(job.all_steps)
        return fit_job(job, fabric, folder=folder, resume=resume, watch=watch, on_epoch=on_epoch)


def checked_splits(recipe: Recipe) -> Splits:
    """The data that a recipe names.

    Raises:
        InputError: something is wrong with the recipe or with the data.
    """
    check_recipe(recipe)
    return open_data(recipe.data)


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


def fit_job(
    job: Job,
    fabric: Fabric,
    *,
    folder: Path | None,
    resume: bool,
    watch: Watch,
    on_epoch: OnEpoch | None,
    before: int = 0,
) -> Fit:
    """As :func:`fit`, for a job that was checked; ``before`` is how many steps ``watch`` was told of already."""
    saved, notes = find_saved(folder, job) if folder is not None and resume else (None, [])
    keeper = NoKeeper() if folder is None else FolderKeeper(folder, job)
    network = job.model()
    with all_seeded(job.rule_seed), job.rule().attach(network), Stop() as stop:
        loop = Loop(job, fabric, network)
        if saved is not None:
            put_back_network(saved, loop)
        loop.set_up()
        if fabric.global_rank:
            torch.manual_seed(job.rule_seed + 2**20 * fabric.global_rank)
        if saved is not None:
            put_back(saved, loop)
        states = random_states(fabric.device)
        watch.reach(before + loop.step)
        keeper.begin(loop)
        set_random_states(states, fabric.device)  # loggers may draw
        ending = _run(loop, stop, keeper, watch, on_epoch)
        keeper.end(good=ending.status != "diverged")
    best = best_epoch(loop.history, job.monitor, lower=job.lower_is_better)
    return Fit(
        seed=job.seed,
        lr=job.lr,
        status=ending.status,
        history=tuple(loop.history),
        seconds=loop.elapsed,
        best_epoch=best.epoch if best else None,
        message=ending.message,
        notes=tuple(notes),
        model=_plain(job, network).eval(),
    )


def _run(loop: Loop, stop: Stop, keeper: Keeper, watch: Watch, on_epoch: OnEpoch | None) -> _Ending:
    try:
        while not (_has_stalled(loop) or (loop.step >= loop.steps and not loop.batch)):
            for _ in loop.run_epoch():
                keeper.after_step()
                _advance(watch, stop)
                if _must_stop(loop, stop):
                    return _Ending("interrupted")
            figures = loop.end_epoch()
            keeper.after_epoch(figures)
            if on_epoch is not None:
                on_epoch(figures)
    except NotFiniteError as error:
        return _Ending("diverged", _words(loop, error))
    except StopTraining as reason:
        return _Ending("pruned", str(reason))
    return _Ending("stopped early" if _has_stalled(loop) else "finished")


def _advance(watch: Watch, stop: Stop) -> None:
    try:
        watch.advance()
    except KeyboardInterrupt:
        stop.asked = True


def _must_stop(loop: Loop, stop: Stop) -> bool:
    """Whether to stop now: all processes at the same step, or those left would wait for the others for ever."""
    if loop.fabric.world_size == 1:
        return stop.asked
    if loop.step % _AGREE_EVERY:
        return False
    asked = torch.tensor(float(stop.asked), device=loop.fabric.device)
    return bool(loop.fabric.all_reduce(asked, reduce_op="sum"))


def _has_stalled(loop: Loop) -> bool:
    section = loop.job.recipe.training.early_stopping
    if section is None or not loop.history:
        return False
    best = best_epoch(loop.history, loop.job.monitor, lower=loop.job.lower_is_better, min_delta=section.min_delta)
    return best is not None and loop.history[-1].epoch - best.epoch >= section.patience


def _words(loop: Loop, error: NotFiniteError) -> str:
    clip = "" if loop.job.recipe.training.clip else ", or clipping the norm of the updates (training.clip=3)"
    return (
        f"{loop.job.recipe.rule.name} (seed {loop.job.seed}) diverged at step {error.step}, in epoch {loop.epoch}: "
        f"{error.where} is not finite. A learning rate below {loop.job.lr:g} may help{clip}."
    )
