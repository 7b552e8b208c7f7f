"""What to prune, and how: checked when it is made."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from altprop.experiment.composites import make_composite
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.kept_settings import KeptSettings
from altprop.experiment.options import parse_numbers
from altprop.experiment.pruning.criteria import CRITERIA

Fraction = Annotated[float, Field(ge=0, le=1)]


class PruneSettings(KeptSettings):
    """What to prune, and how. Lists may be given as text too, as on the command line.

    Raises:
        pydantic.ValidationError: (a ValueError) a setting is unknown or has a wrong value; the message names it.

    Example:
        >>> PruneSettings(run="runs/mine", by="magnitude,random", rates="0.9,0.5").rates
        (0.0, 0.5, 0.9)
    """

    by: Annotated[tuple[str, ...], BeforeValidator(parse_numbers)] = Field(
        default=("magnitude", "relevance"), description=f"What weights are ranked by: {', '.join(CRITERIA)}."
    )
    rates: Annotated[tuple[Fraction, ...], BeforeValidator(parse_numbers)] = Field(
        default=(0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98),
        description="Fractions to prune: 0.5,0.8,0.9. The whole network is always among them.",
    )
    structured: bool = Field(default=False, description="Prune channels and neurons, rather than single weights.")
    per_layer: bool = Field(default=False, description="Prune the fraction of each layer, rather than of the whole.")
    composite: str = Field(default="epsilon", description="Composite for relevance; see `altprop composites`.")
    samples: int = Field(default=1000, ge=1, description="Training samples that a ranking looks at.")
    seed: int = Field(default=0, ge=0, description="Seed of the samples, and of the random ranking.")

    @field_validator("by")
    @classmethod
    def _check_criteria(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in CRITERIA:
                raise unknown("criterion", name, CRITERIA)
        if not names:
            raise InputError("At least one is needed.")
        return tuple(dict.fromkeys(names))

    @field_validator("rates")
    @classmethod
    def _sort_rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({0.0, *rates}))

    @field_validator("composite")
    @classmethod
    def _check_composite(cls, label: str) -> str:
        make_composite(label, low=-1.0, high=1.0)  # the data give the bounds
        return label
