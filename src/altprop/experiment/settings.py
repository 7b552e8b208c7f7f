"""The settings of an experiment: checked when they are made, so that no run starts on a typing error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import nn

from altprop.experiment.data.dataset import Task
from altprop.experiment.data.memory import check_data
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.labels import base_name, split_labels
from altprop.experiment.networks.names import ACTIVATIONS, Norm, Shape, build_model, check_model_name
from altprop.experiment.networks.spiking import SURROGATES, check_fit, is_spiking, spiking_defaults
from altprop.experiment.objectives import check_objective_name
from altprop.experiment.options import Name, Options, parse_numbers, parse_seeds
from altprop.experiment.registry import CONTROL, REFERENCE, RULES, make_rule

_ACTIVATION = (
    f"Activation: {', '.join(ACTIVATIONS)}; of a spiking network the surrogate gradient: {', '.join(SURROGATES)}."
)

ALL = "all"
"""In place of a rule's name: every rule that is fit for the task."""

Optimizer = Literal["sgd", "adam", "adamw"]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _parse_labels(value: Any) -> Any:
    labels = split_labels(value, RULES) if isinstance(value, str) else value
    return tuple(labels) if isinstance(labels, Iterable) else labels


def _parse_rates(value: Any) -> Any:
    """Numbers, or ``"rule=number, ..."`` for each rule its own."""
    if not isinstance(value, str) or _is_number(value):
        return value
    pairs = [entry.rpartition("=") for entry in split_labels(value, RULES)]
    for label, _, rate in pairs:
        if not label or not _is_number(rate):
            raise InputError(f"A learning rate is a number, or rule=number for each rule; got {value!r}.")
    return {label: rate for label, _, rate in pairs}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Settings(Options):
    """What to train, on what, and how. Every setting has a default; they cannot be changed once made.

    Lists may be given as text too, as on the command line: ``Settings(rules="lfp,backprop", seeds="0,1,7")``.

    Raises:
        pydantic.ValidationError: (a ValueError) a setting is unknown or has a wrong value; the message names it.

    Example:
        >>> settings = Settings(data="circles", rules="lfp:epsilon=0", lr="lfp=0.5,backprop=0.05", seeds=2)
        >>> settings.rules, settings.seeds, settings.lr_of("backprop")
        (('lfp:epsilon=0',), (0, 1), 0.05)
    """

    data: str = Field(default="digits", description="Data set, or NAME:FOLDER of its files; see `altprop data list`.")
    task: Literal["reconstruction"] | None = Field(
        default=None, description="reconstruction: an autoencoder of the inputs. Unset: what the data set is for."
    )
    model: str = Field(
        default="256-256", description="Network: hidden widths such as 256-256, or see `altprop models`."
    )
    rules: Annotated[tuple[str, ...], BeforeValidator(_parse_labels)] = Field(
        default=(ALL,),
        description="Learning rules, with arguments after a colon: lfp,lfp:epsilon=0; or all. See `altprop rules`.",
    )
    lr: Annotated[Rate | dict[str, Rate] | None, BeforeValidator(_parse_rates)] = Field(
        default=None,
        description="Learning rate: one for all rules, or lfp=0.1,backprop=0.05. Unset: a default for each rule.",
    )
    lr_grid: Annotated[tuple[Rate, ...], BeforeValidator(parse_numbers)] = Field(
        default=(),
        description="Learning rates to choose from, for each rule, on a part of the training data: 0.3,0.1,0.03.",
    )
    optimizer: Optimizer = Field(default="sgd", description="Optimizer: sgd, adam or adamw.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of sgd.")
    clip: float = Field(default=3.0, ge=0, allow_inf_nan=False, description="Clip the norm of each update; 0: do not.")
    activation: str = Field(default="relu", description=_ACTIVATION)
    norm: Norm = Field(default="none", description="Normalisation: none, batch, or layer (fully connected networks).")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Probability that a hidden unit is left out in a step.")
    pretrained: bool = Field(
        default=False, description="Start a network of torchvision or timm from its published weights."
    )
    epochs: int = Field(default=40, ge=1, description="Passes through the training data.")
    batch_size: int = Field(default=64, ge=1, description="Samples in a batch.")
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(parse_seeds)] = Field(
        default=(0, 1, 2), description="How many seeds (3: seeds 0, 1, 2), or which: 0,1,7."
    )
    keep_weights: bool = Field(default=False, description="Keep the networks, for `altprop prune` and `robustness`.")
    objective: str | None = Field(
        default=None, description="cross-entropy, mse or a reward; see `altprop objectives`. Unset: as fits the data."
    )
    device: str = Field(default="cpu", description="Device: cpu, cuda, cuda:1, mps.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads. Unset: torch's default.")
    out: Path | None = Field(default=Path("runs"), description="Folder of all results.")
    name: Name | None = Field(
        default=None, description="Folder of these results, within --out. Unset: named for the contents."
    )
    overwrite: bool = Field(default=False, description="Replace earlier results of the same name.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_for_spikes(cls, values: Any) -> Any:
        """Spiking networks have defaults of their own."""
        model = values.get("model") if isinstance(values, Mapping) else None
        return spiking_defaults(model) | dict(values) if isinstance(model, str) and is_spiking(model) else values

    @field_validator("data")
    @classmethod
    def _check_data(cls, name: str) -> str:
        return check_data(name)

    @field_validator("model")
    @classmethod
    def _check_model(cls, name: str) -> str:
        check_model_name(name)
        return name

    @field_validator("activation")
    @classmethod
    def _check_activation(cls, name: str) -> str:
        if name not in ACTIVATIONS and name not in SURROGATES:
            raise unknown("activation", name, [*ACTIVATIONS, *SURROGATES])
        return name

    @field_validator("objective")
    @classmethod
    def _check_objective(cls, name: str | None) -> str | None:
        if name is not None:
            check_objective_name(name)
        return name

    @field_validator("rules", "seeds", "lr_grid")
    @classmethod
    def _check_list(cls, values: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        if not values and info.field_name != "lr_grid":
            raise InputError("At least one is needed.")
        twice = [value for number, value in enumerate(values) if value in values[:number]]
        if twice:
            raise InputError(f"{twice[0]!r} is named twice.")
        return values

    @field_validator("rules")
    @classmethod
    def _check_rules(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if label != ALL:
                make_rule(label)
        return labels

    @model_validator(mode="after")
    def _check_spikes(self) -> Self:
        check_fit(self.model, self.activation, self.objective)
        return self

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        if self.norm == "batch" and self.batch_size == 1:
            raise InputError("Batch norm needs batches of 2 samples or more: raise batch_size, or take another norm.")
        return self

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.lr is not None and self.lr_grid:
            raise InputError("Give either lr, or lr_grid to choose it from.")
        for label in self.lr if isinstance(self.lr, dict) else ():
            trained = {
                REFERENCE,
                CONTROL,
                *self.rules,
                *map(base_name, self.rules),
                *(RULES if ALL in self.rules else ()),
            }
            trained -= {ALL}
            if label not in trained:
                raise unknown("rule in this run, to give a learning rate, called", label, sorted(trained))
        return self

    def network(self, shape: Shape, seed: int) -> nn.Module:
        """The network before training.

        Args:
            shape: what it must fit.
            seed: of its weights.
        """
        return build_model(
            self.model,
            shape,
            activation=self.activation,
            norm=self.norm,
            seed=seed,
            dropout=self.dropout,
            pretrained=self.pretrained,
        )

    def lr_of(self, label: str) -> float:
        """The learning rate of a rule: the one given for it, for its name, for all; or the rule's default."""
        name = base_name(label)
        given = self.lr.get(label, self.lr.get(name)) if isinstance(self.lr, dict) else self.lr
        return given or RULES[name].lr_with(self.optimizer)

    def with_rules_for(self, task: Task, *, baselines: bool) -> Self:
        """These settings with the rules named that ``"all"`` stands for.

        Args:
            task: what the rules must be fit for.
            baselines: whether backprop and the control take part in any case.
        """
        fit = tuple(name for name, entry in RULES.items() if task in entry.tasks)
        rules = tuple(dict.fromkeys(rule for label in self.rules for rule in (fit if label == ALL else (label,))))
        names = set(map(base_name, rules))
        before = (REFERENCE,) if baselines and REFERENCE not in names else ()
        after = (CONTROL,) if baselines and CONTROL not in names else ()
        return self.model_copy(update={"rules": before + rules + after})
