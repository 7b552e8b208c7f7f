"""What to explain, and how: checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from altprop.experiment.composites import make_composite
from altprop.experiment.data.catalog import find_data_set
from altprop.experiment.errors import InputError
from altprop.experiment.labels import split_labels
from altprop.experiment.options import Name, Options, parse_numbers
from altprop.explain import COMPOSITES

ALL = "all"
"""In place of a composite's name: every composite that fits the model."""


def _parse_labels(value: Any) -> Any:
    labels = split_labels(value, COMPOSITES) if isinstance(value, str) else value
    return tuple(labels) if isinstance(labels, Iterable) else labels


def _parse_indices(value: Any) -> Any:
    return (value,) if isinstance(value, int) else parse_numbers(value)


class ExplainSettings(Options):
    """What to explain, and by which rules. Lists may be given as text too, as on the command line.

    Raises:
        pydantic.ValidationError: (a ValueError) a setting is unknown or has a wrong value; the message names it.

    Example:
        >>> settings = ExplainSettings(model="torchvision:vgg16", images="cat.jpg", composites="epsilon,gradient")
        >>> settings.composites
        ('epsilon', 'gradient')
    """

    positional: ClassVar[frozenset[str]] = frozenset({"images"})

    images: Path | None = Field(default=None, description="Image file, or folder of images, to explain.")
    data: str | None = Field(
        default=None, description="Or a data set, see `altprop data list`. Unset, without images: the one trained on."
    )
    index: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_parse_indices)] = Field(
        default=(0,), description="Which of its test samples, from 0: 3, or 0,3,5."
    )
    model: str | None = Field(
        default=None,
        description="Network: a folder of `altprop train`, or one within it; or torchvision:vgg16 with random "
        "weights, torchvision:vgg16:DEFAULT with trained ones.",
    )
    weights: Path | None = Field(
        default=None, description="Weights of a torchvision network: a .pt or .safetensors file."
    )
    composites: Annotated[tuple[str, ...], BeforeValidator(_parse_labels)] = Field(
        default=(ALL,),
        description="Composites, with arguments after a colon: epsilon_plus,epsilon_gamma_box:gamma=0.5; or all. See "
        "`altprop composites`.",
    )
    target: str | None = Field(
        default=None, description="Output to explain: a class, by number or name. Unset: the predicted one."
    )
    size: int | None = Field(
        default=None,
        ge=1,
        description="Side of images for torchvision's networks, in pixels. Unset: what suits them.",
    )
    seed: int | None = Field(
        default=None, ge=0, description="Seed of random weights, or of the training run. Unset: 0, or the first."
    )
    device: str = Field(default="cpu", description="Device: cpu, cuda, cuda:1, mps.")
    out: Path | None = Field(default=Path("runs"), description="Folder of all results.")
    name: Name | None = Field(
        default=None, description="Folder of these results, within --out. Unset: named for the contents."
    )
    overwrite: bool = Field(default=False, description="Replace earlier results of the same name.")

    @field_validator("data")
    @classmethod
    def _check_data(cls, name: str | None) -> str | None:
        if name is not None:
            find_data_set(name)
        return name

    @field_validator("index", "composites")
    @classmethod
    def _check_list(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise InputError("At least one is needed.")
        twice = [value for number, value in enumerate(values) if value in values[:number]]
        if twice:
            raise InputError(f"{twice[0]!r} is named twice.")
        return values

    @field_validator("composites")
    @classmethod
    def _check_composites(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if label != ALL:
                make_composite(label, low=-1.0, high=1.0)  # the data give the bounds
        return labels

    @field_validator("target", mode="before")
    @classmethod
    def _check_target(cls, target: Any) -> Any:
        return str(target) if isinstance(target, int) else target

    @model_validator(mode="after")
    def _check_inputs(self) -> ExplainSettings:
        if self.images is not None and self.data is not None:
            raise InputError("Give either images or data, not both.")
        return self
