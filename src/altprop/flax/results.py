"""What came out of training in JAX, and its files."""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import save_file

from altprop.experiment.records.folder import RESULTS
from altprop.flax.settings import FlaxSettings

_PACKAGES = ("altprop", "jax", "flax", "optax", "numpy")


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


class FlaxEpoch(BaseModel):
    """One pass through the training data. Updates are compared before it, on its first batches.

    Attributes:
        epoch: its number, from 1.
        train_loss: the mean over its batches.
        validation_score: as ``test_score``, on what was held out; None if nothing was.
        test_score: accuracy, or R² averaged over outputs.
        cosine: of the angle between the rule's update and backprop's; None where both are zero.
        bias_cosine: the same for the biases alone.
        norm_ratio: |update| / |gradient|.
        layer_cosines: the cosine for each layer.
        weight_cosine: of the angle between forward and feedback weights; None without feedback weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float
    validation_score: float | None
    test_score: float
    cosine: float | None = None
    bias_cosine: float | None = None
    norm_ratio: float | None = None
    layer_cosines: dict[str, float | None] = {}
    weight_cosine: float | None = None


class FlaxResults(BaseModel):
    """All that came out of a run.

    Attributes:
        settings: what was asked for.
        lr: the learning rate that was used.
        metric: what the scores are: accuracy or R².
        epochs: the whole epochs that were trained; the last has a loss that is not finite if the run diverged.
        seconds: how long it took, with compiling and measuring.
        interrupted: whether it was stopped before its end.
        versions: of Python and the packages.
        folder: where the results were written; not saved with them.
    """

    model_config = ConfigDict(ser_json_inf_nan="null")

    settings: FlaxSettings
    lr: float
    metric: str
    epochs: tuple[FlaxEpoch, ...]
    seconds: float
    interrupted: bool = False
    versions: dict[str, str] = Field(default_factory=_versions)
    folder: Path | None = Field(default=None, exclude=True)

    @property
    def diverged(self) -> bool:
        """Whether the loss left the finite numbers."""
        return not math.isfinite(self.epochs[-1].train_loss)

    @property
    def score(self) -> float:
        """The test score after the last epoch."""
        return self.epochs[-1].test_score


def write(results: FlaxResults, layers: Mapping[str, Mapping[str, Array]], folder: Path) -> None:
    """Write ``curves.csv``, a line for each epoch; ``model.safetensors``, the weights; and last ``results.json``.

    Args:
        results: of a run.
        layers: the weights by layer and name.
        folder: where to write; it exists.
    """
    rows = [_row(epoch) for epoch in results.epochs]
    with (folder / "curves.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    weights = {f"{layer}.{name}": np.asarray(value) for layer, own in layers.items() for name, value in own.items()}
    save_file(weights, folder / "model.safetensors")
    (folder / RESULTS).write_text(results.model_dump_json(indent=2), encoding="utf-8")


def _row(epoch: FlaxEpoch) -> dict[str, Any]:
    row = epoch.model_dump(exclude={"layer_cosines"})
    return row | {f"cosine_{layer}": cosine for layer, cosine in epoch.layer_cosines.items()}
