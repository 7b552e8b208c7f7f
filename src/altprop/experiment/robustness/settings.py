"""What to attack, and how: checked when it is made."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from altprop.experiment.errors import InputError, unknown
from altprop.experiment.kept_settings import KeptSettings
from altprop.experiment.options import parse_numbers
from altprop.experiment.robustness.attacks import ATTACKS

Size = Annotated[float, Field(ge=0, le=1)]


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
    epsilons: Annotated[tuple[Size, ...], BeforeValidator(parse_numbers)] = Field(
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
