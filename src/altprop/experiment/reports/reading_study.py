"""Studies, read into the form of a report."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from altprop.experiment.recipes import dump_recipe
from altprop.experiment.records.facts import FACTS
from altprop.experiment.records.files import read_checked_text, unsealed_lines
from altprop.experiment.records.study import Cell, Epoch, Study, cell_folder
from altprop.experiment.reports.records import Entry, Network, Point, Source
from altprop.experiment.reports.settings import settings_of
from altprop.experiment.training.job import lr_of

_NOT_OVER = "It is not over: this is what there was, and the scores of what goes on do not count."


class _Git(BaseModel):
    model_config = ConfigDict(frozen=True)

    commit: str
    dirty: bool


class _Facts(BaseModel):
    """What ``facts.json`` says; all of it is open where there is no such file."""

    model_config = ConfigDict(frozen=True)

    git: _Git | None = None


def read_study(folder: Path) -> Source:
    """Read what ``altprop compare`` or ``altprop train`` wrote, or has written so far.

    Raises:
        ValueError: it is damaged.
    """
    study = Study.load(folder)
    text = read_checked_text(folder / FACTS) if (folder / FACTS).is_file() else "{}"
    facts = _Facts.model_validate_json(text)
    return Source(
        folder=folder,
        name=folder.resolve().name,
        kind="jax" if study.framework == "jax" else "compare" if study.compares else "train",
        recipe=dump_recipe(study.recipe),
        created=study.created,
        versions=study.versions,
        git="" if facts.git is None else f"{facts.git.commit}{', and files that differ from it' * facts.git.dirty}",
        command=study.command,
        entries=tuple(_entry(study, rule) for rule in study.rules),
        notes=(*study.notes, *((_NOT_OVER,) if study.interrupted else ())),
        has_weights=any(cell.counts for cell in study.cells),
    )


def _entry(study: Study, rule: str) -> Entry:
    assert study.folder is not None
    objective = study.recipe.objective.model_copy(update={"name": study.objective})
    recipe = study.recipe.model_copy(update={"objective": objective})
    cells = {cell.seed: _network(cell) for cell in study.cells_of(rule)}
    begun = {seed: cell_folder(study.folder, rule, seed) / "history.jsonl" for seed in study.seeds if seed not in cells}
    cells |= {seed: _unfinished(study, rule, seed, file) for seed, file in begun.items() if file.is_file()}
    return Entry(
        run=study.folder.resolve().name,
        rule=rule,
        data=study.data.name,
        task=study.data.task,
        settings=settings_of(recipe) | {"framework": study.framework, "data.test_samples": study.data.test},
        seeds=len(study.seeds),
        networks=tuple(cells.values()),
        input_shape=study.data.input_shape,
    )


def _unfinished(study: Study, rule: str, seed: int, file: Path) -> Network:
    epochs = map(Epoch.model_validate, unsealed_lines(file))
    history = tuple(one for one in epochs if one.epoch)
    section = next(one for one in study.recipe.rules if one.label == rule)
    seconds = history[-1].seconds if history else 0.0
    lr = lr_of(study.recipe, section)
    cell = Cell(rule=rule, seed=seed, lr=lr, status="interrupted", history=history, seconds=seconds)
    return _network(cell).model_copy(update={"status": "not over"})


def _network(cell: Cell) -> Network:
    figures = cell.judged
    return Network(
        seed=cell.seed,
        lr=cell.lr,
        status=cell.status,
        points=tuple(map(_point, cell.history)),
        judged=figures.epoch if figures else None,
        seconds=cell.seconds,
        message=cell.message,
    )


def _point(figures: Epoch) -> Point:
    return Point(
        epoch=figures.epoch,
        train_loss=figures.train_loss,
        test=figures.test_score,
        validation=figures.val_score,
        # What stands behind a slash is of a single layer.
        tracked={name: value for name, value in figures.tracked.items() if "/" not in name},
    )
