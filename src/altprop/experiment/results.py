"""What came out of an experiment, and what it says about each rule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field
from torch import nn

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.labels import base_name
from altprop.experiment.metrics import METRICS
from altprop.experiment.records.folder import RESULTS
from altprop.experiment.registry import CONTROL
from altprop.experiment.settings import Settings

Status = Literal["finished", "diverged", "interrupted"]
Verdict = Literal["yes", "no", "unclear", "control"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Epoch(_Record):
    """One pass through the training data. The updates are compared on its first batch, before it is trained on.

    Attributes:
        epoch: its number, from 1.
        train_loss: the mean objective over its batches.
        score: accuracy, R² or squared error on the test data, after it.
        cosine: of the angle between the rule's update and backprop's; None where both are zero.
        layer_cosines: the same for each layer.
        sparsity: the fraction of the update's entries that are zero.
        weight_cosine: of the angle between forward and feedback weights; None without feedback weights.
        layer_weight_cosines: the same for each layer that has them.
    """

    epoch: int
    train_loss: float
    score: float
    cosine: float | None
    layer_cosines: dict[str, float | None]
    sparsity: float | None
    weight_cosine: float | None = None
    layer_weight_cosines: dict[str, float | None] = {}


class Divergence(_Record):
    """Where a run left the finite numbers.

    Attributes:
        step: the number of the step, from 1.
        epoch: the epoch it was in.
        where: what was not finite first: the loss, or the update of a parameter.
    """

    step: int
    epoch: int
    where: str


class Run(_Record):
    """One network, trained by one rule from one seed.

    Attributes:
        rule: the label of the rule.
        seed: of the initial weights and of the order of the batches.
        lr: the learning rate.
        clip: what the update's norm was clipped to; 0 is not at all.
        epochs: the whole epochs that were trained.
        seconds: how long the training took, with its measurements.
        divergence: where the run stopped, if it diverged.
        interrupted: whether it was stopped from outside.
    """

    rule: str
    seed: int
    lr: float
    clip: float
    epochs: tuple[Epoch, ...]
    seconds: float
    divergence: Divergence | None = None
    interrupted: bool = False

    @property
    def status(self) -> Status:
        """How the run ended."""
        if self.divergence:
            return "diverged"
        return "interrupted" if self.interrupted else "finished"

    @property
    def score(self) -> float | None:
        """The test score after the last whole epoch; None without one."""
        return self.epochs[-1].score if self.epochs else None

    @property
    def cosine(self) -> float | None:
        """The cosine between the rule's updates and backprop's, averaged over epochs."""
        return mean(epoch.cosine for epoch in self.epochs)

    @property
    def sparsity(self) -> float | None:
        """The fraction of zeros in the updates, averaged over epochs."""
        return mean(epoch.sparsity for epoch in self.epochs)

    def message(self) -> str:
        """What went wrong and what may help; empty if nothing did."""
        if self.divergence is None:
            return ""
        at = self.divergence
        clip = "" if self.clip else ", or clipping the norm of the updates (clip=3)"
        return (
            f"{self.rule} (seed {self.seed}) diverged at step {at.step}, in epoch {at.epoch}: {at.where} is not "
            f"finite. A learning rate below {self.lr:g} may help{clip}."
        )


class Trial(_Record):
    """One learning rate, tried on a part of the training data that was held out.

    Attributes:
        rule: the label of the rule.
        lr: the learning rate.
        score: as of an :class:`Epoch`, on the part held out; None if the run diverged.
        loss: the mean training loss of the last epoch, which decides between equal scores.
    """

    rule: str
    lr: float
    score: float | None
    loss: float | None


class Summary(_Record):
    """What the runs of one rule say together. Means are over the runs that finished.

    Attributes:
        rule: the label of the rule.
        lr: its learning rate.
        seeds: the number of runs that finished.
        score: the mean test score after the last epoch.
        deviation: its standard deviation over seeds; None for fewer than two.
        step_ratio: the time of a training step, relative to backprop's.
        cosine: the mean cosine between the rule's updates and backprop's.
        layer_cosines: the same for each layer.
        layer_weight_cosines: the mean cosine between forward and feedback weights of each layer that has them.
        sparsity: the mean fraction of zeros in the updates.
        beats_control: whether the score is better than the control's, seed by seed, by more than twice the standard
            error.
        trouble: in a line, which runs did not finish; empty if all did.
    """

    rule: str
    lr: float | None
    seeds: int
    score: float | None
    deviation: float | None
    step_ratio: float | None
    cosine: float | None
    layer_cosines: dict[str, float | None]
    layer_weight_cosines: dict[str, float | None]
    sparsity: float | None
    beats_control: Verdict | None
    trouble: str


class Results(BaseModel):
    """All that came out of an experiment.

    Attributes:
        command: ``"compare"`` or ``"train"``.
        settings: what was asked for.
        objective: the loss or reward that was descended.
        data: what the networks were trained on.
        created: when, as ISO 8601.
        versions: of Python and the packages, and the machine's kind.
        runs: every run, also those that did not finish.
        trials: every learning rate that was tried, if there was a grid.
        step_ratios: the time of a training step of each rule, relative to backprop's.
        notes: the warnings that came up.
        interrupted: whether the experiment was stopped before its end.
        folder: where the results were written; not saved with them.
        models: the trained networks by rule and seed; not saved with them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, ser_json_inf_nan="null")

    command: Literal["compare", "train"]
    settings: Settings
    objective: str
    data: DataFacts
    created: str
    versions: dict[str, str]
    runs: tuple[Run, ...] = ()
    trials: tuple[Trial, ...] = ()
    step_ratios: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    folder: Path | None = Field(default=None, exclude=True)
    models: dict[tuple[str, int], nn.Module] = Field(default={}, exclude=True, repr=False)

    @classmethod
    def load(cls, folder: Path | str) -> Results:
        """Read the results of an earlier experiment; its networks are not among them.

        Args:
            folder: what ``results.folder`` was.
        """
        return cls.model_validate_json((Path(folder) / RESULTS).read_text(encoding="utf-8"))

    @property
    def metric(self) -> str:
        """The name of the test score: accuracy, R² or squared error."""
        return METRICS[self.data.task].name

    @computed_field(repr=False)  # type: ignore[prop-decorator]  # mypy does not know computed_field on a property
    @property
    def summaries(self) -> tuple[Summary, ...]:
        """A summary for each rule, in the order asked for."""
        return tuple(self._summary(rule) for rule in self.settings.rules)

    @property
    def used_settings(self) -> Settings:
        """The settings with what was chosen filled in: the learning rate of each rule, and the objective."""
        rates = {summary.rule: summary.lr for summary in self.summaries if summary.lr is not None}
        return self.settings.model_copy(update={"lr": rates, "lr_grid": (), "objective": self.objective})

    def runs_of(self, rule: str) -> tuple[Run, ...]:
        """The runs of one rule."""
        return tuple(run for run in self.runs if run.rule == rule)

    def _summary(self, rule: str) -> Summary:
        runs = self.runs_of(rule)
        finished = [run for run in runs if run.status == "finished"]
        scores = [run.epochs[-1].score for run in finished]
        return Summary(
            rule=rule,
            lr=runs[0].lr if runs else None,
            seeds=len(finished),
            score=mean(scores),
            deviation=stdev(scores) if len(scores) > 1 else None,
            step_ratio=self.step_ratios.get(rule),
            cosine=mean(run.cosine for run in finished),
            layer_cosines=_mean_by_layer(epoch.layer_cosines for run in finished for epoch in run.epochs),
            layer_weight_cosines=_mean_by_layer(epoch.layer_weight_cosines for run in finished for epoch in run.epochs),
            sparsity=mean(run.sparsity for run in finished),
            beats_control=self._verdict(rule),
            trouble=_trouble(runs, len(self.settings.seeds)),
        )

    def _verdict(self, rule: str) -> Verdict | None:
        if base_name(rule) == CONTROL:
            return "control"
        control, mine = (
            {run.seed: run.epochs[-1].score for run in self.runs_of(name) if run.status == "finished"}
            for name in (CONTROL, rule)
        )
        # Paired: both saw the same batches, from the same weights.
        better = METRICS[self.data.task].gain
        gains = [better(mine[seed], control[seed]) for seed in mine.keys() & control.keys()]
        if not gains:
            return None
        gain, error = fmean(gains), stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
        if any(gains) and abs(gain) <= 2 * error:
            return "unclear"
        return "yes" if gain > 0 else "no"


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there; None if none is."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def _mean_by_layer(cosines: Iterable[dict[str, float | None]]) -> dict[str, float | None]:
    cosines = list(cosines)
    layers = dict.fromkeys(layer for one in cosines for layer in one)
    return {layer: mean(one.get(layer) for one in cosines) for layer in layers}


def _trouble(runs: tuple[Run, ...], asked: int) -> str:
    diverged = [run.divergence for run in runs if run.divergence]
    if diverged:
        first = min(at.step for at in diverged)
        return f"diverged at step {first}" + (f" ({len(diverged)} of {asked} seeds)" if asked > 1 else "")
    partial = next((run for run in runs if run.interrupted), None)
    if partial:
        score = "" if partial.score is None else f", at {partial.score:.3f}"
        return f"interrupted after epoch {len(partial.epochs)}{score} (seed {partial.seed})"
    return "" if len(runs) == asked else f"{len(runs)} of {asked} seeds run"
