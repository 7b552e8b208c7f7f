"""What a recipe can say: its sections, with a default for everything and no key besides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from altprop.experiment.errors import InputError
from altprop.experiment.labels import parse_label
from altprop.experiment.options import HIGHEST_SEED, MOST_SEEDS, parse_numbers, parse_seeds

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=HIGHEST_SEED)]

# Beyond these a value is a slip of the finger, which would start processes, or fill the memory, for hours.
Count = Annotated[int, Field(ge=1, le=10**9)]
Processes = Annotated[int, Field(ge=1, le=1024)]
Nodes = Annotated[int, Field(ge=1, le=16_384)]
Trials = Annotated[int, Field(ge=1, le=1_000_000)]


class Section(BaseModel):
    """A part of a recipe: it cannot be changed once made, and knows no other keys.

    Where a part has a name, text in place of the part is its name: ``model: lenet``, ``rule: lfp:epsilon=0``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, values: Any) -> Any:
        return named(cls, values)

    @field_validator("*", mode="before")
    @classmethod
    def _check_plain(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if field is None:  # an argument of a rule, which is the rule's to check
            return value
        if get_origin(field.annotation) is tuple:
            value = parse_seeds(value) if info.field_name == "seeds" else _listed(value)
        # Python takes True for 1; a recipe that says so is wrong.
        parts = value if isinstance(value, list | tuple) else [value]
        if field.annotation is not bool and any(isinstance(part, bool) for part in parts):
            raise InputError(f"this is no switch: it cannot be true or false; got {value!r}.")
        return value


def named(section: type[BaseModel], value: Any) -> Any:
    """What text in place of a section says: the section's name, and arguments of a rule after a colon.

    Args:
        section: the class.
        value: anything; what is not text is left alone, as is text where the section has no name.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)  # a network with one hidden layer
    if not (isinstance(value, str) or whole) or "name" not in section.model_fields:
        return value
    if section is DataSection:
        return _data_named(str(value))
    if section is not RuleSection:
        return {"name": str(value)}
    name, arguments = parse_label("rule", str(value))
    return {"name": name, **arguments}


def _data_named(text: str) -> dict[str, Any]:
    from altprop.experiment.data.names import parse_data  # noqa: PLC0415  (who opens data reads this module first)

    name, root = parse_data(text)
    return {"name": name} if root is None else {"name": name, "root": root}


def _listed(value: Any) -> Any:
    """A list may be given as text with commas, or as the one value it holds."""
    if isinstance(value, str):
        return parse_numbers(value)
    return (value,) if isinstance(value, int | float) else value


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

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments beside the name."""
        return dict(self.model_extra or {})


class ObjectiveSection(Section):
    """What is descended.

    Attributes:
        name: a loss or a reward; see ``altprop objectives``. Unset: as fits the data.
        label_smoothing: of the cross-entropy.
    """

    name: str | None = None
    label_smoothing: Fraction = 0.0


class OptimizerSection(Section):
    """The optimizer.

    Attributes:
        name: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        lr: the learning rate. Unset: a default of the rule.
        momentum: of sgd.
        nesterov: whether sgd's momentum is Nesterov's.
        betas: of adam and adamw.
        weight_decay: as torch's optimizer of the name has it.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive | None = None
    momentum: Fraction = 0.9
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)


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
        accelerator: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.
        devices: how many per node, or ``"auto"``.
        nodes: how many machines.
        strategy: ``"auto"``, ``"ddp"`` or ``"fsdp"``.
        precision: as ``32-true``, ``bf16-mixed``, ``16-mixed``, ``64-true``.
        threads: of the CPU. Unset: torch's default.
    """

    accelerator: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
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
        rule: the learning rule.
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
    rule: RuleSection = RuleSection()
    objective: ObjectiveSection = ObjectiveSection()
    optimizer: OptimizerSection = OptimizerSection()
    scheduler: SchedulerSection = SchedulerSection()
    training: TrainingSection = TrainingSection()
    checkpoints: CheckpointSection = CheckpointSection()
    track: TrackSection = TrackSection()
    machine: MachineSection = MachineSection()
    search: SearchSection | None = None
