"""What a recipe can say: its sections, with a default for everything and no key besides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator

from altprop.experiment.errors import InputError
from altprop.experiment.labels import base_name, parse_label, split_labels
from altprop.experiment.options import MOST_SEEDS
from altprop.experiment.sections import (
    Count,
    Device,
    Fraction,
    Nodes,
    Positive,
    Processes,
    Section,
    Seed,
    Trials,
)


class DataSection(Section):
    """What to train on.

    Attributes:
        name: of the data set; see ``altprop data list``.
        root: the folder of its files. Unset: ``data`` in the working directory, where downloads go too.
        download: whether to download what is missing.
        task: ``"reconstruction"`` trains an autoencoder of the inputs. Unset: what the data set is for.
        fraction: of the training examples to use, drawn by ``seed``, in the same proportions of classes.
        validation: the fraction of the training examples that is held out for validation.
        seed: of the choice of examples, and of the validation split.
        augment: whether to augment the training images in the way that is usual for the set.
        size: the height and width that images are brought to. Unset: what is usual for the set.
        workers: processes that read and decode files; 0 reads in the training process.
    """

    name: str = "digits"
    root: Path | None = None
    download: bool = False
    task: Literal["reconstruction"] | None = None
    fraction: float = Field(default=1.0, gt=0, le=1)
    validation: Fraction = 0.0
    seed: Seed = 0
    augment: bool = False
    size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    workers: int = Field(default=0, ge=0, le=1024)

    @classmethod
    def of_text(cls, text: str) -> dict[str, Any]:
        """The name of the set, and its folder after a colon."""
        from altprop.experiment.data.names import parse_data  # noqa: PLC0415  (who opens data reads this module first)

        name, root = parse_data(text)
        return {"name": name} if root is None else {"name": name, "root": root}


class ModelSection(Section):
    """The network.

    Attributes:
        name: hidden widths such as 256-256, or a name; see ``altprop models``.
        activation: by name.
        norm: ``"none"``, ``"batch"`` or ``"layer"``.
        dropout: the probability that a hidden unit is left out in a step.
        pretrained: whether a network of torchvision or timm starts from its published weights.
    """

    name: str = "256-256"
    activation: str = "relu"
    norm: Literal["none", "batch", "layer"] = "none"
    dropout: Fraction = 0.0
    pretrained: bool = False


class RuleSection(Section):
    """The learning rule: its name, and any of its arguments beside it; ``rule: lfp:epsilon=0`` says the same in a line.

    Attributes:
        name: see ``altprop rules``.
    """

    model_config = ConfigDict(extra="allow")

    name: str = "backprop"

    @classmethod
    def of_text(cls, text: str) -> dict[str, Any]:
        """The name of the rule, and its arguments after a colon."""
        name, arguments = parse_label("rule", text)
        return {"name": name, **arguments}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments beside the name."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """The rule as it is written on a command line.

        Example:
            >>> RuleSection(name="lfp", epsilon=0, update="oja").label
            'lfp:epsilon=0,update=oja'
        """
        arguments = ",".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}:{arguments}" if arguments else self.name


def rules_in(value: Any) -> Any:
    """The rules in text that names several, as a list; anything else is left alone.

    Example:
        >>> rules_in("lfp:epsilon=0,update=oja, dfa"), rules_in("lfp:epsilon=0,update=oja")
        (['lfp:epsilon=0,update=oja', 'dfa'], 'lfp:epsilon=0,update=oja')
    """
    if not isinstance(value, str) or "," not in value:
        return value
    from altprop.experiment.registry import RULES  # noqa: PLC0415  (rules are of data, whose section is in this module)

    labels = split_labels(value, [*RULES, ALL])
    return labels if len(labels) > 1 else value


def _one_or_several(value: Any) -> str:
    return "several" if isinstance(value, list | tuple) else "one"


ALL = "all"
"""In place of a rule's name: every rule that is fit for the task."""

Rules = Annotated[
    Annotated[RuleSection, Tag("one")] | Annotated[tuple[RuleSection, ...], Tag("several")],
    Discriminator(_one_or_several),
]
"""A rule, or several side by side."""


class ObjectiveSection(Section):
    """What is descended.

    Attributes:
        name: a loss or a reward; see ``altprop objectives``. Unset: as fits the data.
        label_smoothing: of the cross-entropy.
    """

    name: str | None = None
    label_smoothing: Fraction = 0.0


Rates = Annotated[
    Annotated[Positive, Tag("one")] | Annotated[dict[str, Positive], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, dict) else "one"),
]
"""A learning rate, or one for each rule."""


def _rates_in(value: Any) -> Any:
    """The learning rates in text such as ``"lfp=0.1, backprop=0.05"``; anything else is left alone."""
    if not isinstance(value, str) or "=" not in value:
        return value
    from altprop.experiment.registry import RULES  # noqa: PLC0415  (as above)

    pairs = [entry.rpartition("=") for entry in split_labels(value, RULES)]
    if not all(label and rate for label, _, rate in pairs):
        raise InputError(f"a learning rate is a number, or rule=number for each rule; got {value!r}.")
    return {label.strip(): rate.strip() for label, _, rate in pairs}


class OptimizerSection(Section):
    """The optimizer.

    Attributes:
        name: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        lr: the learning rate: one for all rules, or by rule: ``{lfp: 0.1, backprop: 0.05}``. Unset: a default of the
            rule.
        lr_grid: learning rates to choose from, for each rule, on a part of the training data that is held out; then
            all of it is trained on.
        momentum: of sgd.
        nesterov: whether sgd's momentum is Nesterov's.
        betas: of adam and adamw.
        weight_decay: as torch's optimizer of the name has it.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Rates | None = None
    lr_grid: tuple[Positive, ...] = ()
    momentum: Fraction = 0.9
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @field_validator("lr", mode="before")
    @classmethod
    def _read_rates(cls, value: Any) -> Any:
        return _rates_in(value)

    def lr_of(self, label: str) -> float | None:
        """The learning rate that is given for a rule: for its label, for its name, or for all."""
        if isinstance(self.lr, dict):
            return self.lr.get(label, self.lr.get(base_name(label)))
        return self.lr


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
        early_stopping: unset: none.
        monitor: by which figure the best checkpoint is chosen and training stopped early. Unset: ``"val_score"`` with
            validation data, else ``"train_loss"``: test data choose nothing.
        seeds: of the initial weights and the order of the batches, a network for each: a count, or a list.
    """

    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = 64
    accumulate: Count = 1
    clip: float = Field(default=3.0, ge=0, allow_inf_nan=False)
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


Tracked = Literal["bp_cosine", "weight_alignment", "sparsity", "norms"]
Logger = Literal["tensorboard", "csv", "wandb", "mlflow"]


class TrackSection(Section):
    """What is measured and logged at each epoch.

    Attributes:
        metrics: of :mod:`altprop.measure`: ``bp_cosine``, ``weight_alignment``, ``sparsity``, ``norms``.
        batches: how many batches they are averaged over.
        loggers: where figures go besides the folder of the run: ``tensorboard``, ``csv``, ``wandb``, ``mlflow``.
        top_k: the k for which the top-k accuracy is reported besides the accuracy.
    """

    metrics: tuple[Tracked, ...] = ()
    batches: Count = 1
    loggers: tuple[Logger, ...] = ("tensorboard",)
    top_k: tuple[Annotated[int, Field(ge=2, le=10**6)], ...] = ()


class MachineSection(Section):
    """Where to run, as Lightning Fabric names it.

    Attributes:
        accelerator: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``; or one of several GPUs, as ``"cuda:1"``.
        devices: how many per node, or ``"auto"``.
        nodes: how many machines.
        strategy: ``"auto"``, ``"ddp"`` or ``"fsdp"``.
        precision: as ``32-true``, ``bf16-mixed``, ``16-mixed``, ``64-true``.
        threads: of the CPU. Unset: torch's default.
    """

    accelerator: Device = "cpu"
    devices: Processes | Literal["auto"] = 1
    nodes: Nodes = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["64-true", "32-true", "bf16-mixed", "16-mixed", "bf16-true"] = "32-true"
    threads: Processes | None = None


class SearchSection(Section):
    """What ``altprop sweep`` searches.

    Attributes:
        space: by dotted key of the recipe a list of choices, or ``{low, high}`` with ``log: true`` or ``step`` if need
            be.
        tune_on: what is optimised: ``loss`` or ``error`` on the training data, ``val_loss`` or ``val_error``.
        trials: how many; a grid without it has all of its points.
        executions: networks trained for each trial, with different seeds, whose figures are averaged.
        prune: whether hopeless trials are stopped early.
    """

    space: dict[str, Any]
    tune_on: Literal["loss", "error", "val_loss", "val_error"] = "val_error"
    trials: Trials | None = None
    executions: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1
    prune: bool = True


class Recipe(Section):
    """Everything about a run.

    Attributes:
        summary: what it is, in a line or two; with the paper's figure that it should meet, if it is from one.
        data: what to train on.
        model: the network.
        rule: the learning rule; or a list of rules, or ``all``, which are trained side by side.
        objective: what is descended.
        optimizer: the optimizer.
        scheduler: of the learning rate.
        training: the loop.
        checkpoints: what is kept on the way.
        track: what is measured and where it is logged.
        machine: where to run.
        search: what a sweep searches. Unset: there is nothing to search.
    """

    summary: str = ""
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    rule: Rules = RuleSection()
    objective: ObjectiveSection = ObjectiveSection()
    optimizer: OptimizerSection = OptimizerSection()
    scheduler: SchedulerSection = SchedulerSection()
    training: TrainingSection = TrainingSection()
    checkpoints: CheckpointSection = CheckpointSection()
    track: TrackSection = TrackSection()
    machine: MachineSection = MachineSection()
    search: SearchSection | None = None

    @field_validator("rule", mode="before")
    @classmethod
    def _read_rules(cls, value: Any) -> Any:
        return rules_in(value)

    @property
    def rules(self) -> tuple[RuleSection, ...]:
        """The learning rules, one or several."""
        return self.rule if isinstance(self.rule, tuple) else (self.rule,)

    @property
    def single_rule(self) -> RuleSection:
        """The learning rule of a recipe that has one.

        Raises:
            InputError: it has several.
        """
        if len(self.rules) != 1 or self.rules[0].name == ALL:
            named = ", ".join(rule.label for rule in self.rules)
            raise InputError(f"rule: one is needed here, and the recipe names {named}.")
        return self.rules[0]
