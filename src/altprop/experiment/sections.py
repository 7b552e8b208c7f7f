"""What every section of a recipe is: frozen, with no keys besides, and its name in place of the whole."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from altprop._names import did_you_mean
from altprop.experiment.errors import InputError
from altprop.experiment.options import HIGHEST_SEED, parse_numbers, parse_seeds

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=HIGHEST_SEED)]

# Beyond these a value is a slip of the finger, which would start processes, or fill the memory, for hours.
Count = Annotated[int, Field(ge=1, le=10**9)]
Processes = Annotated[int, Field(ge=1, le=1024)]
Nodes = Annotated[int, Field(ge=1, le=16_384)]
Trials = Annotated[int, Field(ge=1, le=1_000_000)]


_DEVICES = ("cpu", "cuda", "mps", "auto")


def _check_device_name(name: str) -> str:
    if name not in _DEVICES and not re.fullmatch(r"cuda:\d{1,4}", name):
        raise InputError(
            f"a device is cpu, cuda, one of several GPUs such as cuda:1, mps or auto; got {name!r}."
            f"{did_you_mean(name, _DEVICES)}"
        )
    return name


Device = Annotated[str, AfterValidator(_check_device_name)]
"""Where to run: a kind of device, or one of several GPUs."""


class Section(BaseModel):
    """A part of a recipe: it cannot be changed once made, and knows no other keys.

    Where a part has a name, text in place of the part is its name: ``model: lenet``, ``rule: lfp:epsilon=0``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @classmethod
    def of_text(cls, text: str) -> dict[str, Any]:
        """What the section says if it is given as text."""
        return {"name": text}

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


def named(section: type[Section], value: Any) -> Any:
    """What text in place of a section says: the section's name, and arguments of a rule after a colon.

    Args:
        section: the class.
        value: anything; what is not text is left alone, as is text where the section has no name.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)  # a network with one hidden layer
    if not (isinstance(value, str) or whole) or "name" not in section.model_fields:
        return value
    return section.of_text(str(value))


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field of such a type holds, also where it may be something else; None without any."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = () if get_origin(annotation) is tuple else get_args(annotation)
    return next(filter(None, map(section_in, inner)), None)


def _listed(value: Any) -> Any:
    """A list may be given as text with commas, or as the one value it holds."""
    if isinstance(value, str):
        return parse_numbers(value)
    return (value,) if isinstance(value, int | float) else value
