"""Runs that were trained by flags or in JAX, read into the form of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from altprop.experiment.data.dataset import Task
from altprop.experiment.data.names import parse_data
from altprop.experiment.metrics import METRICS
from altprop.experiment.objectives import DEFAULT_OBJECTIVE
from altprop.experiment.recipes import Recipe
from altprop.experiment.reports.records import Entry, Network, Point, Source
from altprop.experiment.reports.settings import settings_of
from altprop.experiment.results import Epoch, Results, Run


def read_flags(folder: Path, text: str) -> Source:
    """Read what ``altprop compare``, or ``altprop train`` with flags, wrote.

    Args:
        folder: of the run.
        text: of its ``results.json``.

    Raises:
        ValueError: it is damaged.
    """
    results = Results.model_validate_json(text)
    given = results.used_settings.model_dump(mode="json", exclude={"out", "name", "overwrite"})
    return Source(
        folder=folder,
        name=folder.resolve().name,
        kind=results.command,
        recipe=as_yaml(given),
        created=results.created,
        versions=results.versions,
        command=results.settings.command(results.command) if results.data.name == results.settings.data else "",
        entries=tuple(_entry(folder.resolve().name, results, rule) for rule in results.settings.rules),
        notes=results.notes,
        has_weights=results.settings.keep_weights or results.command == "train",
    )


def as_yaml(values: dict[str, Any]) -> str:
    """Settings for the reader."""
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))


def _entry(name: str, results: Results, rule: str) -> Entry:
    asked = results.settings
    recipe = Recipe.model_validate(
        {
            "model": {
                "name": asked.model,
                "activation": asked.activation,
                "norm": asked.norm,
                "dropout": asked.dropout,
                "pretrained": asked.pretrained,
            },
            "objective": {"name": results.objective},
            "optimizer": {"name": asked.optimizer, "momentum": asked.momentum},
            "training": {"batch_size": asked.batch_size, "clip": asked.clip},
        }
    )
    return Entry(
        run=name,
        rule=rule,
        data=results.data.name,
        task=results.data.task,
        settings=settings_of(recipe) | {"data.test_samples": results.data.test},
        seeds=len(asked.seeds),
        networks=tuple(_network(run) for run in results.runs_of(rule)),
        input_shape=results.data.input_shape,
    )


def _network(run: Run) -> Network:
    return Network(
        seed=run.seed,
        lr=run.lr,
        status=run.status,
        points=tuple(map(_point, run.epochs)),
        judged=run.epochs[-1].epoch if run.epochs else None,
        seconds=run.seconds,
        message=run.message(),
    )


def _point(epoch: Epoch) -> Point:
    tracked = {"bp_cosine": epoch.cosine, "sparsity": epoch.sparsity, "weight_alignment": epoch.weight_cosine}
    return Point(epoch=epoch.epoch, train_loss=epoch.train_loss, test=epoch.score, tracked=tracked)


# What altprop.flax writes is read by its names alone: its own classes need JAX.
class _JaxEpoch(BaseModel):
    model_config = ConfigDict(frozen=True)

    epoch: int
    train_loss: float | None
    validation_score: float | None
    test_score: float | None
    cosine: float | None = None
    norm_ratio: float | None = None
    weight_cosine: float | None = None


class _JaxSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    data: str
    rule: str
    hidden: tuple[int, ...]
    activations: tuple[str, ...]
    optimizer: str
    momentum: float
    weight_decay: float
    clip: float
    batch_size: int
    validation: float
    seed: int
    kernel_init: str
    feedback_init: str | None


class _JaxResults(BaseModel):
    model_config = ConfigDict(frozen=True)

    settings: _JaxSettings
    lr: float
    metric: str
    epochs: tuple[_JaxEpoch, ...]
    seconds: float
    versions: dict[str, str]


def read_jax(folder: Path, text: str) -> Source:
    """Read what ``altprop flax train`` wrote; JAX need not be installed.

    Args:
        folder: of the run.
        text: of its ``results.json``.

    Raises:
        ValueError: it is damaged.
    """
    results = _JaxResults.model_validate_json(text)
    given = results.settings.model_dump(mode="json", exclude={"out", "name", "overwrite"})
    return Source(
        folder=folder,
        name=folder.resolve().name,
        kind="jax",
        recipe=as_yaml(given | {"lr": results.lr}),
        versions=results.versions,
        entries=(_jax_entry(folder.resolve().name, results),),
    )


def _jax_entry(name: str, results: _JaxResults) -> Entry:
    asked, task = results.settings, _task(results.metric)
    recipe = Recipe.model_validate(
        {
            "objective": {"name": DEFAULT_OBJECTIVE[task]},
            "model": {"name": "-".join(map(str, asked.hidden)), "activation": ",".join(asked.activations)},
            "data": {"validation": asked.validation},
            "optimizer": {"name": asked.optimizer, "momentum": asked.momentum, "weight_decay": asked.weight_decay},
            "training": {"batch_size": asked.batch_size, "clip": asked.clip},
        }
    )
    own = {"framework": "jax", "kernel_init": asked.kernel_init, "feedback_init": asked.feedback_init}
    last = results.epochs[-1] if results.epochs else None
    network = Network(
        seed=asked.seed,
        lr=results.lr,
        status="diverged" if last and last.train_loss is None else "finished",
        points=tuple(map(_jax_point, results.epochs)),
        judged=last.epoch if last else None,
        seconds=results.seconds,
    )
    return Entry(
        run=name,
        rule=asked.rule,
        data=parse_data(asked.data)[0],
        task=task,
        settings=settings_of(recipe) | own,
        seeds=1,
        networks=(network,),
    )


def _jax_point(epoch: _JaxEpoch) -> Point:
    return Point(
        epoch=epoch.epoch,
        train_loss=epoch.train_loss,
        test=epoch.test_score,
        validation=epoch.validation_score,
        tracked={"bp_cosine": epoch.cosine, "norm_ratio": epoch.norm_ratio, "weight_alignment": epoch.weight_cosine},
    )


def _task(metric: str) -> Task:
    for task, known in METRICS.items():
        if known.name == metric:
            return task
    raise ValueError(f"it has scores of a kind that is not known, {metric!r}")
