"""What a recipe can say of the training: the optimizer, its learning rate, the loop, and what is kept on the way."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from altprop.experiment.errors import InputError
from altprop.experiment.labels import base_name, split_labels
from altprop.experiment.options import MOST_SEEDS
from altprop.experiment.sections import Count, Fraction, Positive, Section, Seed, Size

Rates = Annotated[
    Annotated[Positive, Tag("one")] | Annotated[dict[str, Positive], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, dict) else "one"),
]
"""A learning rate, or one for each rule."""


def _rates_in(value: Any) -> Any:
    """The learning rates in text such as ``"lfp=0.1, backprop=0.05"``; anything else is left alone."""
    if not isinstance(value, str) or "=" not in value:
        return value
    from altprop.experiment.registry import RULES  # noqa: PLC0415  (rules are of data, whose section needs this one)

    pairs = [entry.rpartition("=") for entry in split_labels(value, RULES)]
    if not all(label and rate for label, _, rate in pairs):
        raise InputError(f"a learning rate is a number, or rule=number for each rule; got {value!r}.")
    return {label.strip(): rate.strip() for label, _, rate in pairs}


class OptimizerSection(Section):
    """The optimizer.

    Attributes:
        name: ``"sgd"``, ``"adam"``, ``"adamw"`` or ``"rmsprop"``.
        lr: the learning rate: one for all rules, or by rule: ``{lfp: 0.1, backprop: 0.05}``. Unset: a default of the
            rule.
        lr_grid: learning rates to choose from, for each rule, on a part of the training data that is held out; then
            all of it is trained on.
        momentum: of sgd.
        nesterov: whether sgd's momentum is Nesterov's.
        betas: of adam and adamw.
        alpha: of rmsprop: how much of the mean square of the updates is left after a step.
        weight_decay: as torch's optimizer of the name has it.
    """

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr: Rates | None = None
    lr_grid: tuple[Positive, ...] = ()
    momentum: Fraction = 0.9
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    alpha: Fraction = 0.99
    weight_decay: Size = 0.0

    @field_validator("lr", mode="before")
    @classmethod
    def _read_rates(cls, value: Any) -> Any:
        return _rates_in(value)

    def lr_of(self, label: str) -> float | None:
        """The learning rate that is given for a rule: for its label, for its name, or for all."""
        if isinstance(self.lr, dict):
            return self.lr.get(label, self.lr.get(base_name(label)))
        return self.lr


OPTIMIZER_KEYS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov"),
    "adam": ("betas",),
    "adamw": ("betas",),
    "rmsprop": ("alpha",),
}
"""By name of an optimizer the keys that are its own, named as torch's arguments are."""


class SchedulerSection(Section):
    """How the learning rate changes. Steps are steps of the optimizer, and durations fractions of the training.

    Attributes:
        name: ``"none"``, ``"one-cycle"``, ``"cyclic"``, ``"step"`` or ``"cosine"``.
        warmup: the fraction of the training in which the rate rises, from 0 (cosine, step) or to its highest
            (one-cycle).
        cycles: of cyclic: how many there are in the training.
        lowest: the lowest rate of cyclic and cosine, as a fraction of the optimizer's.
        epochs: of step: after which epochs the rate is multiplied by ``factor``.
        factor: of step.
    """

    name: Literal["none", "one-cycle", "cyclic", "step", "cosine"] = "none"
    warmup: Fraction | None = None
    cycles: Count = 4
    lowest: Fraction = 0.0
    epochs: tuple[Count, ...] = ()
    factor: float = Field(default=0.1, gt=0, lt=1)


class EarlyStoppingSection(Section):
    """When to stop before the end.

    Attributes:
        patience: epochs without a better value of ``monitor`` after which training stops.
        min_delta: what counts as better.
    """

    patience: Count
    min_delta: float = Field(default=0.0, ge=0)


DEFAULT_EPOCHS = 10


class TrainingSection(Section):
    """The loop.

    Attributes:
        epochs: passes through the training data. Unset with ``steps``; 10 if both are.
        steps: steps of the optimizer, in place of ``epochs``.
        batch_size: samples in a step of the optimizer, over all devices and accumulated parts.
        accumulate: into how many parts a batch is cut, whose updates are added up.
        clip: the norm that an update is clipped to; 0: it is not.
        error_clip: what the entries of the error that each layer is taught by, and of the update of its weights, are
            clamped to, on both sides of zero; 0: they are not. biotorch's ``gradient_clip`` is 1.
        constrain_weights: whether each layer's weights are scaled back, after each step, to the norm they started with.
        early_stopping: unset: none.
        monitor: by which figure the best checkpoint is chosen and training stopped early. Unset: ``"val_score"`` with
            validation data, else ``"train_loss"``: test data choose nothing.
        seeds: of the initial weights and the order of the batches, a network for each: a count, or a list.
    """

    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = 64
    accumulate: Count = 1
    clip: Size = 3.0
    error_clip: Size = 0.0
    constrain_weights: bool = False
    early_stopping: EarlyStoppingSection | None = None
    monitor: Literal["train_loss", "val_loss", "val_score"] | None = None
    seeds: Annotated[tuple[Seed, ...], Field(max_length=MOST_SEEDS)] = (0,)

    @property
    def planned_epochs(self) -> int:
        """How many epochs there are, where no steps are given."""
        return self.epochs or DEFAULT_EPOCHS


class CheckpointSection(Section):
    """What is kept of the training on its way: always the last state, to resume from, and the best.

    Attributes:
        every: epochs between checkpoints that stay. Unset: none stays.
        every_steps: steps between writes of the last state, besides that at the end of each epoch. Unset: none.
    """

    every: Count | None = None
    every_steps: Count | None = None
