"""What to train with ``altprop flax train``, and how: checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from altprop.experiment.errors import InputError, unknown
from altprop.experiment.options import Name, Options, parse_numbers
from altprop.flax.initializers import INITS
from altprop.flax.networks import ACTIVATIONS, RULES


def _parse_widths(value: Any) -> Any:
    """``"64-32"`` as (64, 32); empty: no hidden layer."""
    return tuple(part for part in value.split("-") if part) if isinstance(value, str) else value


class FlaxSettings(Options):
    """The settings of a training run in JAX. They cannot be changed once made.

    Raises:
        pydantic.ValidationError: (a ValueError) a setting is unknown or has a wrong value; the message names it.

    Example:
        >>> FlaxSettings(data="sine", hidden="32-32", activations="tanh").activation_names
        ('tanh', 'tanh')
    """

    data: str = Field(default="digits", description="Data set: NAME, or NAME:ROOT; see `altprop data`.")
    rule: str = Field(default="lfp", description=f"Learning rule: {', '.join(RULES)}.")
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_parse_widths)] = Field(
        default=(256, 256), description="Widths of the hidden layers: 256-256."
    )
    activations: Annotated[tuple[str, ...], BeforeValidator(parse_numbers)] = Field(
        default=("relu",),
        description=f"Activation of all hidden layers, or of each: relu,tanh. One of {', '.join(ACTIVATIONS)}.",
    )
    kernel_init: str = Field(default="lecun_normal", description=f"How weights are drawn: {', '.join(INITS)}.")
    kernel_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="Factor of the drawn weights.")
    feedback_init: str | None = Field(
        default=None, description="How feedback weights are drawn, by the same names. Unset: as is usual for the rule."
    )
    feedback_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="Factor of feedback weights.")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="Optimizer: sgd, adam or adamw.")
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Learning rate. Unset: the rule's.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of sgd.")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Weight decay.")
    clip: float = Field(default=3.0, ge=0, allow_inf_nan=False, description="Clip the norm of each update; 0: do not.")
    epochs: int = Field(default=40, ge=1, description="Passes through the training data.")
    batch_size: int = Field(default=64, ge=1, description="Samples in a batch.")
    validation: float = Field(default=0.0, ge=0, lt=1, description="Fraction of the training data held out.")
    track: int = Field(default=1, ge=0, description="Batches in an epoch on which updates are compared with gradients.")
    seed: int = Field(default=0, ge=0, description="Of the weights and of the order of the batches.")
    wandb: bool = Field(default=False, description="Log to Weights & Biases too.")
    out: Path | None = Field(default=Path("runs"), description="Folder of all results.")
    name: Name | None = Field(default=None, description="Folder of these results, within --out.")
    overwrite: bool = Field(default=False, description="Replace earlier results of the same name.")

    @field_validator("rule", "kernel_init", "feedback_init")
    @classmethod
    def _check_names(cls, name: str | None, info: Any) -> str | None:
        known: dict[str, Iterable[str]] = {"rule": RULES, "kernel_init": INITS, "feedback_init": INITS}
        if name is not None and name not in known[info.field_name]:
            raise unknown(info.field_name.replace("_", " "), name, known[info.field_name])
        return name

    @field_validator("activations")
    @classmethod
    def _check_activations(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in ACTIVATIONS:
                raise unknown("activation", name, ACTIVATIONS)
        return names

    @model_validator(mode="after")
    def _check_count(self) -> Self:
        if len(self.activations) not in (1, len(self.hidden)):
            raise InputError(
                f"Give one activation for all hidden layers or one for each of the {len(self.hidden)}, got "
                f"{len(self.activations)}."
            )
        return self

    @property
    def activation_names(self) -> tuple[str, ...]:
        """The activation of each hidden layer."""
        return self.activations * len(self.hidden) if len(self.activations) == 1 else self.activations
