"""What to do to trained networks, and how: checked when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from altprop.experiment.composites import make_composite
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.options import Name, Options, parse_numbers
from altprop.experiment.stress.attacks import ATTACKS
from altprop.experiment.stress.criteria import CRITERIA

Fraction = Annotated[float, Field(ge=0, le=1)]


class KeptSettings(Options):
    """Which networks to look at, and where what comes out goes."""

    positional: ClassVar[frozenset[str]] = frozenset({"run"})

    run: Path | None = Field(
        default=None, description="Folder of the networks: of altprop compare, train or flax train."
    )
    which: Literal["final", "best", "last"] = Field(
        default="final", description="Each network at the end, at its best epoch, or as last kept."
    )
    tolerance: float = Field(
        default=0.05, gt=0, allow_inf_nan=False, description="What the score may lose: how far does a network go?"
    )
    device: str = Field(default="cpu", description="Device: cpu, cuda, cuda:1, mps.")
    out: Path | None = Field(default=Path("runs"), description="Folder of all results.")
    name: Name | None = Field(
        default=None, description="Folder of these results, within --out. Unset: named for the contents."
    )
    overwrite: bool = Field(default=False, description="Replace earlier results of the same name.")


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


class RobustnessSettings(KeptSettings):
    """What to attack, and how. Lists may be given as text too, as on the command line.

    Raises:
        pydantic.ValidationError: (a ValueError) a setting is unknown or has a wrong value; the message names it.

    Example:
        >>> RobustnessSettings(run="runs/mine", attacks="fgsm", epsilons="0.1,0.05").epsilons
        (0.0, 0.05, 0.1)
    """

    attacks: Annotated[tuple[str, ...], BeforeValidator(parse_numbers)] = Field(
        default=("fgsm", "pgd"), description=f"Attacks: {', '.join(ATTACKS)}."
    )
    epsilons: Annotated[tuple[Fraction, ...], BeforeValidator(parse_numbers)] = Field(
        default=(0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3),
        description="Sizes: the most that an entry of an input may change, as a fraction of the range of the training "
        "inputs; for images, of pixels from 0 to 1. No attack at all is always among them.",
    )
    steps: int = Field(default=20, ge=1, description="Steps of pgd.")

    @field_validator("attacks")
    @classmethod
    def _check_attacks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in ATTACKS:
                raise unknown("attack", name, ATTACKS)
        if not names:
            raise InputError("At least one is needed.")
        return tuple(dict.fromkeys(names))

    @field_validator("epsilons")
    @classmethod
    def _sort_sizes(cls, sizes: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({0.0, *sizes}))
