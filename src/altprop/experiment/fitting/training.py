"""Training by a recipe into a folder: a network for each seed, with all that is needed to do it again."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save

from altprop.experiment.dataset import Task
from altprop.experiment.errors import InputError
from altprop.experiment.fitting.checkpoints import write_through, write_whole
from altprop.experiment.fitting.devices import make_fabric, threads
from altprop.experiment.fitting.fit import fit_job
from altprop.experiment.fitting.job import Job, check
from altprop.experiment.fitting.records import Fit
from altprop.experiment.fitting.snapshots import check_recipe
from altprop.experiment.folder import free_folder, plain_name
from altprop.experiment.machine import versions
from altprop.experiment.metrics import METRICS
from altprop.experiment.models import Shape
from altprop.experiment.recipes import Recipe, dump_recipe, load_recipe
from altprop.experiment.sources import Splits, open_data
from altprop.experiment.watching import Watch

TRAINING, RECIPE, FACTS, WEIGHTS = "training.json", "recipe.yaml", "facts.json", "model.safetensors"

_Made = TypeVar("_Made")


class TrainedOn(BaseModel):
    """What networks were trained on.

    Attributes:
        name: of the data set.
        task: classification, regression or reconstruction.
        input_shape: the shape of one input.
        outputs: classes, or numbers to predict.
        classes: the names of the classes; empty if they have none.
        train: the number of training samples.
        validation: the number of validation samples.
        test: the number of test samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    train: int
    validation: int
    test: int

    @classmethod
    def of(cls, splits: Splits) -> TrainedOn:
        """The facts of a data set."""
        return cls(
            name=splits.name,
            task=splits.task,
            input_shape=splits.input_shape,
            outputs=splits.outputs,
            classes=splits.classes,
            train=len(splits.train),
            validation=0 if splits.validation is None else len(splits.validation),
            test=len(splits.test),
        )

    @property
    def shape(self) -> Shape:
        """What a network for this data must fit."""
        return Shape(self.input_shape, self.outputs)


class Training(BaseModel):
    """All that came out of a recipe.

    Attributes:
        recipe: what was done.
        data: what the networks were trained on.
        fits: one for each seed that was begun.
        folder: where it was written; not saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    recipe: Recipe
    data: TrainedOn
    fits: tuple[Fit, ...]
    folder: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> Training:
        """Read an earlier training; its networks are not among it, see :func:`load_trained`."""
        return cls.model_validate_json((Path(folder) / TRAINING).read_text(encoding="utf-8"))

    @property
    def metric(self) -> str:
        """The name of the scores: accuracy, R² or squared error."""
        return METRICS[self.data.task].name

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return any(fit.status == "interrupted" for fit in self.fits)


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
        splits = open_data(recipe.data) if splits is None else splits
        jobs = [Job(recipe, splits, seed) for seed in recipe.training.seeds]
        check(jobs[0] if jobs else Job(recipe, splits, 0))
        fabric = make_fabric(recipe.machine)
        place = _Place(out, name or _default_name(recipe), numbered=name is None, overwrite=overwrite, resume=resume)
        folder = _of_the_first(fabric, lambda: place.make(recipe))
        fits = _fit_all(jobs, fabric, folder, resume, watch)
        training = Training(recipe=recipe, data=TrainedOn.of(splits), fits=fits, folder=folder)
        if fabric.is_global_zero:
            write_whole(folder / TRAINING, training.model_dump_json(indent=2))
        fabric.barrier()
    return training


def _fit_all(jobs: list[Job], fabric: Fabric, folder: Path, resume: bool, watch: Watch) -> tuple[Fit, ...]:
    fits: list[Fit] = []
    for number, job in enumerate(jobs):
        own = folder / f"seed-{job.seed}"
        watch.stage(f"{job.recipe.rule.name}, seed {job.seed}")
        one = fit_job(
            job, fabric, folder=own, resume=resume, watch=watch, on_epoch=None, place=(number, len(jobs))
        )
        fits.append(one)
        if fabric.is_global_zero and one.status != "diverged" and one.model is not None:
            write_weights(one, own / WEIGHTS)
        if one.status == "interrupted":
            break
    return tuple(fits)


def write_weights(fit: Fit, file: Path) -> None:
    """Write the weights of a trained network, to a file that is there whole or not at all."""
    assert fit.model is not None
    state = {name: tensor.detach().contiguous().clone() for name, tensor in fit.model.state_dict().items()}
    new = file.with_name(f".{file.name}-new")
    write_through(new, save(state))
    new.replace(file)


class _Place:
    """Where a training goes."""

    def __init__(self, out: Path, name: str, *, numbered: bool, overwrite: bool, resume: bool) -> None:
        self._out, self._name, self._overwrite, self._resume = out, name, overwrite, resume
        self._numbered = numbered and not overwrite and not resume

    def make(self, recipe: Recipe) -> Path:
        """Make the folder, with what is known before the training."""
        folder = free_folder(self._out / self._name) if self._numbered else self._out / self._name
        there = folder.is_dir() and any(folder.iterdir())
        if there and self._resume:
            return self._go_on(folder, recipe)
        if there and not self._overwrite:
            raise InputError(
                f"{folder} exists. Choose another name (--name), replace it (--overwrite), or go on with it (--resume)."
            )
        if there and not (folder / RECIPE).is_file():
            raise InputError(f"{folder} does not hold a training, so it is not replaced. Choose another name.")
        if there:
            shutil.rmtree(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Results cannot be written to {self._out}: {error.strerror}. Choose another folder (--out)."
            ) from error
        write_whole(folder / FACTS, json.dumps(_facts(recipe), indent=2))
        write_whole(folder / RECIPE, dump_recipe(recipe))
        return folder

    def _go_on(self, folder: Path, recipe: Recipe) -> Path:
        if not (folder / RECIPE).is_file():
            raise InputError(f"{folder} holds no training to go on with: it has no {RECIPE}.")
        check_recipe(load_recipe(folder / RECIPE).model_dump(mode="json"), recipe, f"{folder / RECIPE}")
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        facts.setdefault("resumed", []).append(_facts(recipe))
        write_whole(folder / FACTS, json.dumps(facts, indent=2))
        write_whole(folder / RECIPE, dump_recipe(recipe))
        return folder


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


def _facts(recipe: Recipe) -> dict[str, Any]:
    device = "cuda" if recipe.machine.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "versions": versions(device),
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """The commit of the working directory, and whether files differ from it; None outside of a repository."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=20).stdout
