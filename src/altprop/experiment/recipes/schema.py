"""What a recipe can say: its sections, with a default for everything and no key besides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator

from altprop.experiment.data.section import DataSection
from altprop.experiment.errors import InputError
from altprop.experiment.labels import parse_label, split_labels
from altprop.experiment.networks.shapes import Output
from altprop.experiment.networks.spiking import Reset
from altprop.experiment.options import MOST_SEEDS
from altprop.experiment.recipes.learning import (
    CheckpointSection,
    OptimizerSection,
    SchedulerSection,
    TrainingSection,
)
from altprop.experiment.sections import (
    Count,
    Device,
    Fraction,
    Nodes,
    Probability,
    Processes,
    Section,
    Size,
    Trials,
)


class ModelSection(Section):
    """The network.

    Attributes:
        name: hidden widths such as 256-256, or a name; see ``altprop models``.
        activation: by name.
        norm: ``"none"``, ``"batch"`` or ``"layer"``.
        dropout: the probability that a hidden unit is left out in a step.
        pretrained: whether a network of torchvision or timm starts from its published weights.
        output: the activation of the outputs: ``"none"``, ``"softmax"``, ``"sigmoid"`` or ``"tanh"``. Direct rules take
            the error before it.
        zero_init: whether the weights of fully connected layers start at zero, as in the papers of DFA and DRTP. Their
            biases do not.
        frozen: layers that stay as they are: names, or patterns such as ``conv*``.
        beta: of spiking neurons: how much of the membrane potential is left after a step. Unset: 0.9.
        reset: what a spike does to the membrane potential: ``"subtract"`` the threshold, set it to ``"zero"``, or
            ``"none"``. Unset: subtract.
        noise: the standard deviation of the noise on what enters each layer of a spiking network in training.
    """

    name: str = "256-256"
    activation: str = "relu"
    norm: Literal["none", "batch", "layer"] = "none"
    dropout: Fraction = 0.0
    pretrained: bool = False
    output: Output = "none"
    zero_init: bool = False
    frozen: tuple[str, ...] = ()
    beta: Probability | None = None
    reset: Reset | None = None
    noise: Size = 0.0


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
        lower: of bounded-softmax: probabilities below it count as 0.
        upper: of bounded-softmax: probabilities above it count as 1.
        sign_only: of bounded-softmax: whether the reward has the sign of an output in place of the output.
    """

    name: str | None = None
    label_smoothing: Fraction = 0.0
    lower: Probability = 0.0
    upper: Probability = 1.0
    sign_only: bool = False


Tracked = Literal["bp_cosine", "weight_alignment", "sparsity", "norms", "gini"]
Logger = Literal["tensorboard", "csv", "wandb", "mlflow"]


class TrackSection(Section):
    """What is measured and logged at each epoch.

    Attributes:
        metrics: of :mod:`altprop.measure`: ``bp_cosine``, ``weight_alignment``, ``sparsity``, ``norms``, ``gini``.
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
