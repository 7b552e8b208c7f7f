"""Where figures go besides the folder: TensorBoard, CSV, Weights & Biases, MLflow."""

# ruff: noqa: PLC0415  (each takes long to import, or is an extra, and only its own users need it)

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from altprop._extras import how_to_install
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.study import CELLS, Epoch

_PROJECT = "altprop"


class Log(ABC):
    """A place for figures."""

    @abstractmethod
    def write(self, figures: dict[str, float], step: int) -> None:
        """Write the figures of a step."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left, and end."""

    def add(self, figures: Epoch) -> None:
        """Write the figures of an epoch."""
        own = figures.model_dump(exclude={"step", "tracked"}) | figures.tracked
        self.write({name: value for name, value in own.items() if value is not None}, figures.step)


def make_logs(recipe: Recipe, folder: Path, history: Sequence[Epoch]) -> list[Log]:
    """Open what a recipe asks for.

    Args:
        recipe: with ``track.loggers``.
        folder: where files go.
        history: the figures that there are already, of a training that goes on.

    Raises:
        InputError: a package is missing.
    """
    check_loggers(recipe)
    return [_LOGS[name](recipe, folder, history) for name in recipe.track.loggers]


def check_loggers(recipe: Recipe) -> None:
    """Check that the packages of a recipe's loggers are installed.

    Raises:
        InputError: one is not; the message names the extra that brings it.
    """
    for name in recipe.track.loggers:
        package, extra = {"csv": ("csv", ""), "tensorboard": ("tensorboard", "experiments")}.get(name, (name, name))
        if find_spec(package) is None:
            raise InputError(
                f"The logger {name!r} needs {package}, which is not installed. Install it with: {how_to_install(extra)}"
            )


class _TensorBoard(Log):
    def __init__(self, recipe: Recipe, folder: Path, history: Sequence[Epoch]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
        from torch.utils.tensorboard.writer import SummaryWriter

        # What was written after the checkpoint that a training goes on from is not shown again.
        last = history[-1].step if history else -1
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=last + 1)
        self._summary = Summary

    def write(self, figures: dict[str, float], step: int) -> None:
        # All figures as one event: ``add_scalar`` makes one of each, which takes ten times as long.
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        writer = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        writer.add_summary(self._summary(value=values), step)

    def close(self) -> None:
        self._writer.close()


class _CSV(Log):
    def __init__(self, recipe: Recipe, folder: Path, history: Sequence[Epoch]) -> None:
        from lightning_fabric.loggers.csv_logs import CSVLogger

        shutil.rmtree(folder / "csv", ignore_errors=True)
        self._logger = CSVLogger(folder, name="", version="csv")
        for figures in history:
            self.add(figures)

    def write(self, figures: dict[str, float], step: int) -> None:
        self._logger.log_metrics(dict(figures), step)
        self._logger.save()

    def close(self) -> None:
        self._logger.finalize("success")


class _WandB(Log):
    def __init__(self, recipe: Recipe, folder: Path, history: Sequence[Epoch]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=_name(folder),
            id=_identity(folder / "wandb-id.txt", lambda: uuid4().hex[:8]),
            resume="allow",
            dir=folder,
            config=recipe.model_dump(mode="json"),
        )

    def write(self, figures: dict[str, float], step: int) -> None:
        self._run.log(figures, step=step)

    def close(self) -> None:
        self._run.finish()


class _MLflow(Log):
    def __init__(self, recipe: Recipe, folder: Path, history: Sequence[Epoch]) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve()}/mlflow.db"))
        self._run = _identity(folder / "mlflow-id.txt", lambda: self._create(recipe, folder))

    def _create(self, recipe: Recipe, folder: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        there = self._client.get_experiment_by_name(name)
        experiment = there.experiment_id if there else self._client.create_experiment(name)
        run: str = self._client.create_run(experiment, run_name=_name(folder)).info.run_id
        for section, values in recipe.model_dump(mode="json").items():
            self._client.log_param(run, section, str(values)[:500])
        return run

    def write(self, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            self._client.log_metric(run_id=self._run, key=name, value=value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


_LOGS: dict[str, Callable[[Recipe, Path, Sequence[Epoch]], Any]] = {
    "tensorboard": _TensorBoard,
    "csv": _CSV,
    "wandb": _WandB,
    "mlflow": _MLflow,
}


def _name(folder: Path) -> str:
    above = folder.resolve().parent
    return f"{(above.parent if above.name == CELLS else above).name}-{folder.name}"


def _identity(file: Path, make: Callable[[], str]) -> str:
    """What a service calls this training: made once, and kept for when it goes on."""
    if not file.exists():
        file.write_text(make(), encoding="utf-8")
    return file.read_text(encoding="utf-8")
