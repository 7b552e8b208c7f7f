"""What a study tells of itself: every network that it trained, epoch by epoch, and what they say about each rule."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import ConfigDict, Field, ValidationError
from torch import nn

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.errors import InputError
from altprop.experiment.labels import base_name
from altprop.experiment.metrics import METRICS
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.flags import command_line
from altprop.experiment.records.files import read_checked
from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.records.statistics import Lead, Spread, mean
from altprop.experiment.records.summary import Record, StepTime, Summary
from altprop.experiment.registry import CONTROL

STUDY, CELLS, WEIGHTS = RECORDS["study"], "cells", "model.safetensors"

Status = Literal["finished", "stopped early", "pruned", "diverged", "interrupted"]

HIDDEN_COSINE = "bp_cosine_hidden"
"""What the cosine with backprop's updates over the hidden layers is called among what was tracked."""

WHOLE = {"finished", "stopped early", "pruned"}
"""How a training ends that counts: not broken off from outside, and within the finite numbers."""


class StopTraining(Exception):  # noqa: N818  (no error: as StopIteration)
    """Raised in ``on_epoch`` to end a training that is not worth its time."""


class Epoch(Record):
    """One pass through the training data. Scores are accuracy, R² or squared error, as the task has it.

    Attributes:
        epoch: its number, from 1; 0 is what was measured before the first step.
        step: how many steps of the optimizer were taken in all.
        lr: the learning rate of its last step; of epoch 0 that of the first step.
        train_loss: the mean objective over its samples, each in the step that trained on it; None of epoch 0.
        train_score: likewise, on the outputs of those steps.
        val_loss: on the validation data, after it; None without any.
        val_score: likewise.
        test_score: on the test data, after it.
        tracked: what else was measured, by name; None where it is not defined.
        seconds: how long the training had taken in all.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float | None = None
    train_score: float | None = None
    val_loss: float | None = None
    val_score: float | None = None
    test_score: float | None = None
    tracked: dict[str, float | None] = Field(default_factory=dict)
    seconds: float = 0.0


class Cell(Record):
    """One network that was trained: one rule, from one seed.

    Attributes:
        rule: the label of the rule.
        seed: of its initial weights and of the order of the batches.
        lr: the learning rate of the optimizer.
        status: ``"finished"``, ``"stopped early"``, ``"pruned"`` (``on_epoch`` stopped it), ``"diverged"`` or
            ``"interrupted"``.
        start: the figures before the first step; None if it was stopped before these.
        history: the figures of every epoch that was completed.
        seconds: how long it took in all, also before an interruption.
        best_epoch: the epoch that was best by ``training.monitor``; None without any.
        diverged_at: the step at which it left the finite numbers; None if it did not.
        message: what went wrong and what may help; empty if nothing did.
        notes: what the reader should know, such as a checkpoint that could not be used.
        model: the network as it was at the end, with the rule taken off, on the CPU, in evaluation mode; not saved.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    rule: str
    seed: int
    lr: float
    status: Status
    start: Epoch | None = None
    history: tuple[Epoch, ...] = ()
    seconds: float = 0.0
    best_epoch: int | None = None
    diverged_at: int | None = None
    message: str = ""
    notes: tuple[str, ...] = ()
    model: nn.Module | None = Field(default=None, exclude=True, repr=False)

    @property
    def counts(self) -> bool:
        """Whether its scores are among those that are averaged."""
        return self.status in WHOLE and bool(self.history)

    @property
    def judged(self) -> Epoch | None:
        """The figures that count: of the best epoch on validation data, or without these of the last.

        Example:
            >>> first = Epoch(epoch=1, step=9, lr=0.1, val_score=0.9)
            >>> last = Epoch(epoch=2, step=18, lr=0.1, val_score=0.8)
            >>> Cell(rule="lfp", seed=0, lr=0.1, status="finished", history=(first, last), best_epoch=1).judged.epoch
            1
        """
        if not self.history:
            return None
        validated = self.history[-1].val_score is not None
        return next((one for one in self.history if validated and one.epoch == self.best_epoch), self.history[-1])

    @property
    def score(self) -> float | None:
        """The test score that counts; None without an epoch."""
        return self.judged.test_score if self.judged else None

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """All figures there are, those before the first step among them."""
        return self.history if self.start is None else (self.start, *self.history)

    def tracked(self, name: str) -> float | None:
        """A figure that was measured, averaged from before the first step to the end."""
        return mean(one.tracked.get(name) for one in self.epochs)


class Trial(Record):
    """One learning rate, tried on a part of the training data that was held out.

    Attributes:
        rule: the label of the rule.
        lr: the learning rate.
        score: on the part held out, after the last epoch; None if the training diverged.
        loss: the mean training loss of the last epoch, which decides between equal scores.
    """

    rule: str
    lr: float
    score: float | None
    loss: float | None


class Study(Record):
    """All that came out of a recipe: a cell for each of its rules and seeds.

    Attributes:
        kind: says what the file is.
        format: of the file.
        framework: what trained the networks.
        recipe: what was done, with every default filled in.
        data: what the networks were trained on.
        objective: the loss or reward that was descended.
        cells: one for each rule and seed that was begun.
        trials: every learning rate that was tried, if there was a grid.
        step_times: the time of a training step of each rule, relative to backprop's; empty if it was not measured.
        notes: the warnings that came up.
        created: when, as ISO 8601.
        versions: of Python and the packages, and the machine's kind.
        folder: where it was written; not saved.
    """

    kind: Literal["study"] = "study"
    format: Literal[1] = 1
    framework: Literal["torch", "jax"] = "torch"
    recipe: Recipe
    data: DataFacts
    objective: str
    cells: tuple[Cell, ...] = ()
    trials: tuple[Trial, ...] = ()
    step_times: dict[str, StepTime] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    created: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    folder: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> Study:
        """Read an earlier study, also one that is not over; its networks are not among it.

        Args:
            folder: what ``study.folder`` was.

        Raises:
            InputError: there is none, or it is damaged.
        """
        file = Path(folder) / STUDY
        try:
            return cls.model_validate_json(read_checked(file)).model_copy(update={"folder": Path(folder)})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"{file} is damaged: {place}: {first['msg']}") from error

    def as_json(self) -> str:
        """The text of ``study.json``."""
        return self.model_dump_json(indent=1)

    def with_cell(self, cell: Cell) -> Study:
        """This study with a cell in the place of the one of its rule and seed, or behind all others."""
        others = tuple(one for one in self.cells if (one.rule, one.seed) != (cell.rule, cell.seed))
        return self.model_copy(update={"cells": (*others, cell)})

    @property
    def rules(self) -> tuple[str, ...]:
        """The labels of the rules, in the order asked for."""
        return tuple(rule.label for rule in self.recipe.rules)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were asked for."""
        return self.recipe.training.seeds

    @property
    def compares(self) -> bool:
        """Whether there are several rules, side by side."""
        return len(self.rules) > 1

    @property
    def has_own_data(self) -> bool:
        """Whether the data were given in Python, and are none that altprop knows."""
        from altprop.experiment.data.catalog import find_data_set  # noqa: PLC0415  (it reads what reads all sets)

        try:
            find_data_set(self.recipe.data.name)
        except InputError:
            return True
        return False

    @property
    def command(self) -> str:
        """What repeats the study: a command line, or a line of Python if the data were the user's own."""
        in_jax = self.framework == "jax"
        words = command_line(self.recipe, self.data.task, in_jax=in_jax)
        if not self.has_own_data:
            return shlex.join(words)
        function = "altprop.flax.training.train" if in_jax else f"altprop.experiment.{words[1]}"
        changed = self.recipe.model_dump(
            mode="json", exclude_defaults=True, exclude={"data": {"name"}, "summary": True}
        )
        return f"{function}(Recipe(**{changed!r}), data=...)  # of {self.data.name}"

    @property
    def metric(self) -> str:
        """The name of the scores: accuracy, R² or squared error."""
        return METRICS[self.data.task].name

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return len(self.cells) < len(self.rules) * len(self.seeds) or any(
            cell.status == "interrupted" for cell in self.cells
        )

    @property
    def diverged(self) -> bool:
        """Whether any network left the finite numbers."""
        return any(cell.status == "diverged" for cell in self.cells)

    @property
    def messages(self) -> list[str]:
        """What the reader should know: what went wrong in any cell, what cannot be told, and the warnings."""
        cells = [note for cell in self.cells for note in (cell.message, *cell.notes) if note]
        times = [
            f"The step time of {rule} is not shown: of {time.rounds} rounds the median is only known to lie between "
            f"{time.low:.2f} and {time.high:.2f} times backprop's."
            for rule, time in self.step_times.items()
            if not time.holds
        ]
        return [*cells, *times, *self.notes]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """What the cells of each rule say together."""
        return tuple(map(self.summary, self.rules))

    def cells_of(self, rule: str) -> tuple[Cell, ...]:
        """The cells of one rule."""
        return tuple(cell for cell in self.cells if cell.rule == rule)

    def models(self) -> dict[str, nn.Module]:
        """A network of each rule: that of the first seed for which the training did not diverge."""
        found: dict[str, nn.Module] = {}
        for cell in self.cells:
            if cell.status != "diverged" and cell.model is not None:
                found.setdefault(cell.rule, cell.model)
        return {rule: found[rule] for rule in self.rules if rule in found}

    def summary(self, rule: str) -> Summary:
        """What the cells of a rule say together."""
        cells = self.cells_of(rule)
        counted = [cell for cell in cells if cell.counts]
        return Summary(
            rule=rule,
            lr=cells[0].lr if cells else None,
            seeds=len(counted),
            test=Spread.of(cell.score for cell in counted),
            step_ratio=self.step_ratio(rule),
            cosine=mean(cell.tracked(HIDDEN_COSINE) for cell in counted),
            layer_cosines=_by_layer(counted, "bp_cosine"),
            layer_weight_cosines=_by_layer(counted, "weight_alignment"),
            sparsity=mean(cell.tracked("sparsity") for cell in counted),
            over_control=self._over_control(rule),
            trouble=_trouble(cells, len(self.seeds)),
        )

    def step_ratio(self, rule: str) -> float | None:
        """The time of a training step of a rule, relative to backprop's, if it can be told."""
        measured = self.step_times.get(rule)
        return measured.ratio if measured and measured.holds else None

    def _over_control(self, rule: str) -> Lead | None:
        if base_name(rule) == CONTROL:
            return None
        control, mine = ({cell.seed: cell.score for cell in self.cells_of(of) if cell.counts} for of in (CONTROL, rule))
        better = METRICS[self.data.task].gain
        pairs = [(mine[seed], control[seed]) for seed in mine.keys() & control.keys()]
        return Lead.of(better(one, other) for one, other in pairs if one is not None and other is not None)


def cell_folder(folder: Path, rule: str, seed: int) -> Path:
    """The folder of a cell within that of its study; no two labels have the same.

    Example:
        >>> cell_folder(Path("runs/mine"), "lfp:epsilon=0", 2).name
        'lfp%3Aepsilon=0-seed-2'
    """
    return folder / CELLS / f"{quote(rule, safe='=,')}-seed-{seed}"


def _by_layer(cells: Iterable[Cell], name: str) -> dict[str, float | None]:
    cells = list(cells)
    keys = dict.fromkeys(
        key for cell in cells for one in cell.epochs for key in one.tracked if key.startswith(f"{name}/")
    )
    return {key.partition("/")[2]: mean(cell.tracked(key) for cell in cells) for key in keys}


def _trouble(cells: tuple[Cell, ...], asked: int) -> str:
    diverged = [cell for cell in cells if cell.status == "diverged"]
    if diverged:
        first = min(cell.diverged_at or 0 for cell in diverged)
        return f"diverged at step {first}" + (f" ({len(diverged)} of {asked} seeds)" if asked > 1 else "")
    partial = next((cell for cell in cells if cell.status == "interrupted"), None)
    if partial:
        score = "" if partial.score is None else f", at {partial.score:.3f}"
        return f"interrupted after epoch {len(partial.history)}{score} (seed {partial.seed})"
    return "" if len(cells) == asked else f"{len(cells)} of {asked} seeds run"
