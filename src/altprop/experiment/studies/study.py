"""Training by a recipe into a folder: a network for each seed, with all that is needed to do it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from lightning_fabric import Fabric
from safetensors.torch import save

from altprop.experiment.data.examples import Splits
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.facts import WEIGHTS, write_facts
from altprop.experiment.records.folder import Folder, plain_name
from altprop.experiment.records.machine import threads
from altprop.experiment.records.training import TRAINING, Fit, Training
from altprop.experiment.training.devices import make_fabric
from altprop.experiment.training.fit import checked_splits, fit_job
from altprop.experiment.training.job import Job, check
from altprop.experiment.training.watching import Watch

_Made = TypeVar("_Made")


def train_recipe(
    recipe: Recipe,
    *,
    out: Path = Path("runs"),
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    splits: Splits | None = None,
    watch: Watch | None = None,
) -> Training:
    """Train a network for each seed of a recipe, into a folder.

    The folder holds ``recipe.yaml``, the recipe with every default filled in; ``facts.json``: the versions of the
    packages, the state of the git repository, the command; for each seed a folder such as ``seed-0`` with its
    checkpoints, ``history.jsonl``, ``model.safetensors`` (the network at the end, without its rule) and what loggers
    write; and, last, ``training.json``: this function's result.

    Args:
        recipe: what to do.
        out: the folder of all results.
        name: of the folder of these, within ``out``. Unset: named for the contents, with a number if that is taken.
        overwrite: whether to replace an earlier training of the name.
        resume: go on with an earlier training of the name from its last good checkpoints; begin if there is none.
        splits: what to train on; by default what the recipe names is opened.
        watch: told of each step.

    Returns:
        The training. If it was interrupted, by Ctrl-C or SIGTERM, ``training.interrupted`` says so, and ``resume``
        goes on with it.

    Raises:
        InputError: the recipe cannot be done, or the folder is taken; nothing was written.
    """
    watch = watch or Watch()
    with threads(recipe.machine.threads):
        splits = checked_splits(recipe) if splits is None else splits
        jobs = [Job(recipe, splits, seed) for seed in recipe.training.seeds]
        check(jobs[0])
        fabric = make_fabric(recipe.machine)
        with ExitStack() as stack:
            opened = Folder.open(
                out,
                name or _default_name(recipe),
                kind="training",
                numbered=name is None,
                overwrite=overwrite,
                resume=resume,
                resumable=True,
            )
            written = _of_the_first(fabric, lambda: _begun(stack.enter_context(opened), recipe))
            fits = _fit_all(jobs, fabric, written, resume, watch)
            training = Training(recipe=recipe, data=DataFacts.of(splits), fits=fits, folder=written.path)
            if fabric.is_global_zero:
                written.write(TRAINING, training.model_dump_json(indent=2))
                if not training.interrupted:
                    training = training.model_copy(update={"folder": written.publish()})
            fabric.barrier()
    return training


def _begun(folder: Folder, recipe: Recipe) -> Folder:
    write_facts(folder, recipe)
    return folder


def _fit_all(jobs: list[Job], fabric: Fabric, folder: Folder, resume: bool, watch: Watch) -> tuple[Fit, ...]:
    fits, steps = list[Fit](), jobs[0].all_steps
    watch.begin(len(jobs) * steps)
    for number, job in enumerate(jobs):
        own = folder.path / f"seed-{job.seed}"
        watch.stage(f"{job.recipe.rule.name}, seed {job.seed}")
        one = fit_job(job, fabric, folder=own, resume=resume, watch=watch, on_epoch=None, before=number * steps)
        fits.append(one)
        if fabric.is_global_zero and one.status != "diverged" and one.model is not None:
            folder.write(f"{own.name}/{WEIGHTS}", weights_of(one))
        if one.status == "interrupted":
            break
    return tuple(fits)


def weights_of(fit: Fit) -> bytes:
    """The weights of a trained network, as a file of safetensors."""
    assert fit.model is not None
    return save({name: tensor.detach().contiguous().clone() for name, tensor in fit.model.state_dict().items()})


def _of_the_first(fabric: Fabric, make: Callable[[], _Made]) -> _Made:
    """What the first process makes, in all of them; an error in the first is one in all."""
    made: Any = None
    if fabric.is_global_zero:
        try:
            made = make()
        except InputError as error:
            made = error
    made = fabric.broadcast(made)
    if isinstance(made, InputError):
        raise made
    result: _Made = made
    return result


def _default_name(recipe: Recipe) -> str:
    return plain_name(f"train-{recipe.rule.name}-{recipe.data.name}-{recipe.model.name}")
