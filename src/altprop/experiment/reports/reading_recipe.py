"""Trainings by a recipe, read into the form of a report."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from altprop.experiment.data.catalog import DATA_SETS
from altprop.experiment.data.dataset import Task
from altprop.experiment.fits_table import judged
from altprop.experiment.networks.spiking import default_objective
from altprop.experiment.recipes import Recipe, dump_recipe, parse_recipe
from altprop.experiment.records.facts import FACTS, RECIPE
from altprop.experiment.records.files import read_checked_text, unsealed_lines
from altprop.experiment.records.training import TRAINING, EpochFigures, Fit, Training
from altprop.experiment.registry import RULES
from altprop.experiment.reports.records import Entry, Network, Point, Source
from altprop.experiment.reports.settings import settings_of
from altprop.experiment.studies.kept_recipe import label_of


class _Git(BaseModel):
    model_config = ConfigDict(frozen=True)

    commit: str
    dirty: bool


class _Facts(BaseModel):
    """What ``facts.json`` says; all of it is open where there is no such file."""

    model_config = ConfigDict(frozen=True)

    created: str = ""
    command: str = ""
    versions: dict[str, str] = {}
    git: _Git | None = None


_NOT_OVER = "The training is not over: this is what there was, and its scores do not count."


def is_recipe_run(folder: Path) -> bool:
    """Whether a folder holds a training by a recipe: one that is over, or has begun."""
    return (folder / TRAINING).is_file() or ((folder / RECIPE).is_file() and (folder / FACTS).is_file())


def read_recipe_run(folder: Path) -> Source:
    """Read what ``altprop train RECIPE`` wrote, or has written so far.

    Raises:
        ValueError: it is damaged.
    """
    text = read_checked_text(folder / FACTS) if (folder / FACTS).is_file() else "{}"
    facts = _Facts.model_validate_json(text)
    over = (folder / TRAINING).is_file()
    recipe, entry = _ended(folder) if over else _so_far(folder)
    return Source(
        folder=folder,
        name=folder.resolve().name,
        kind="recipe",
        recipe=dump_recipe(recipe),
        created=facts.created,
        versions=facts.versions,
        git=_words(facts.git),
        command=facts.command,
        entries=(entry,),
        notes=() if over else (_NOT_OVER,),
        has_weights=over,
    )


def _ended(folder: Path) -> tuple[Recipe, Entry]:
    training = Training.load(folder)
    entry = _entry(folder.resolve().name, training.recipe, training.data.name, training.data.task, training.fits)
    known = {
        "settings": entry.settings | {"data.test_samples": training.data.test},
        "input_shape": training.data.input_shape,
    }
    return training.recipe, entry.model_copy(update=known)


def _so_far(folder: Path) -> tuple[Recipe, Entry]:
    recipe = parse_recipe(read_checked_text(folder / RECIPE), source=str(folder / RECIPE))
    known = DATA_SETS.get(recipe.data.name)
    task = recipe.data.task or (known.task if known else "classification")
    histories = {seed: folder / f"seed-{seed}" / "history.jsonl" for seed in recipe.training.seeds}
    fits = tuple(_unfinished(seed, _lr_of(recipe), file) for seed, file in histories.items() if file.is_file())
    entry = _entry(folder.resolve().name, recipe, recipe.data.name, task, fits)
    networks = tuple(network.model_copy(update={"status": "not over"}) for network in entry.networks)
    return recipe, entry.model_copy(update={"networks": networks})


def _unfinished(seed: int, lr: float, file: Path) -> Fit:
    history = tuple(map(EpochFigures.model_validate, unsealed_lines(file)))
    seconds = history[-1].seconds if history else 0.0
    return Fit(seed=seed, lr=lr, status="interrupted", history=history, seconds=seconds)


def _lr_of(recipe: Recipe) -> float:
    return recipe.optimizer.lr or RULES[recipe.rule.name].lr_with(recipe.optimizer.name)


def _entry(name: str, recipe: Recipe, data: str, task: Task, fits: tuple[Fit, ...]) -> Entry:
    objective = recipe.objective.name or default_objective(recipe.model.name, task)
    named = recipe.model_copy(update={"objective": recipe.objective.model_copy(update={"name": objective})})
    return Entry(
        run=name,
        rule=label_of(recipe.rule),
        data=data,
        task=task,
        settings=settings_of(named),
        seeds=len(recipe.training.seeds),
        networks=tuple(map(_network, fits)),
    )


def _network(fit: Fit) -> Network:
    figures = judged(fit)
    return Network(
        seed=fit.seed,
        lr=fit.lr,
        status=fit.status,
        points=tuple(map(_point, fit.history)),
        judged=figures.epoch if figures else None,
        seconds=fit.seconds,
        message=fit.message,
    )


def _point(figures: EpochFigures) -> Point:
    return Point(
        epoch=figures.epoch,
        train_loss=figures.train_loss,
        test=figures.test_score,
        validation=figures.val_score,
        # What stands behind a slash is of a single layer.
        tracked={name: value for name, value in figures.tracked.items() if "/" not in name},
    )


def _words(git: _Git | None) -> str:
    if git is None:
        return ""
    return f"{git.commit}{', and files that differ from it' if git.dirty else ''}"
