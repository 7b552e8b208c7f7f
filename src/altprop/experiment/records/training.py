"""What a training tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.metrics import METRICS
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.files import read_checked

TRAINING = "training.json"

Status = Literal["finished", "stopped early", "pruned", "diverged", "interrupted"]


class StopTraining(Exception):  # noqa: N818  (no error: as StopIteration)
    """Raised in ``on_epoch`` to end a training that is not worth its time."""


class EpochFigures(BaseModel):
    """One pass through the training data. Scores are accuracy, R² or squared error, as the task has it.

    Attributes:
        epoch: its number, from 1.
        step: how many steps of the optimizer were taken in all.
        lr: the learning rate of its last step.
        train_loss: the mean objective over its samples, each in the step that trained on it.
        train_score: likewise, on the outputs of those steps.
        val_loss: on the validation data, after it; None without any.
        val_score: likewise.
        test_score: on the test data, after it.
        tracked: what else was measured, by name; None where it is not defined.
        seconds: how long the training had taken in all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_score: float
    val_loss: float | None = None
    val_score: float | None = None
    test_score: float | None = None
    tracked: dict[str, float | None] = {}
    seconds: float = 0.0


class Fit(BaseModel):
    """One network that was trained.

    Attributes:
        seed: of its initial weights and of the order of the batches.
        lr: the learning rate of the optimizer.
        status: ``"finished"``, ``"stopped early"``, ``"pruned"`` (``on_epoch`` stopped it), ``"diverged"`` or
            ``"interrupted"``.
        history: the figures of every epoch that was completed.
        seconds: how long it took in all, also before an interruption.
        best_epoch: the epoch that was best by ``training.monitor``; None without any.
        message: what went wrong and what may help; empty if nothing did.
        notes: what the reader should know, such as a checkpoint that could not be used.
        model: the network as it was at the end, with the rule taken off, on the CPU, in evaluation mode; not saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    seed: int
    lr: float
    status: Status
    history: tuple[EpochFigures, ...]
    seconds: float
    best_epoch: int | None = None
    message: str = ""
    notes: tuple[str, ...] = ()
    model: nn.Module | None = Field(default=None, exclude=True, repr=False)


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
    data: DataFacts
    fits: tuple[Fit, ...]
    folder: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> Training:
        """Read an earlier training; its networks are not among it, see :func:`load_trained`.

        Raises:
            DamagedError: (a ValueError) it is not what was written.
        """
        return cls.model_validate_json(read_checked(Path(folder) / TRAINING))

    @property
    def metric(self) -> str:
        """The name of the scores: accuracy, R² or squared error."""
        return METRICS[self.data.task].name

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return any(fit.status == "interrupted" for fit in self.fits)
