"""What the options of all commands share: how they are read, checked, and written down again."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from altprop.experiment.errors import InputError, unknown

MOST_SEEDS, HIGHEST_SEED = 10_000, 2**32 - 1
"""What is sensible, and what all random generators take."""

_LONGEST = 120  # of 255 that file systems take: hidden names that are made of it are longer
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def check_name(name: str) -> str:
    """Check what a folder of results is to be called.

    Returns:
        The name.

    Raises:
        InputError: a folder cannot be called that.
    """
    plain = re.fullmatch(r"\w[\w.+-]*", name) and unicodedata.normalize("NFKC", name) == name
    if not plain or name.endswith(".") or name.partition(".")[0].lower() in _RESERVED:
        shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
        raise InputError(
            f"A name is made of letters, digits and _ . + -, begins with a letter or a digit, does not end with a dot, "
            f"and is none that Windows keeps for itself, such as nul; got {shown!r}."
        )
    if len(name.encode()) > _LONGEST:
        raise InputError(f"A name has at most {_LONGEST} bytes; {name[:20]!r}… has {len(name.encode())}.")
    return name


Name = Annotated[str, AfterValidator(check_name)]
"""What a folder of results may be called."""


def parse_numbers(value: Any) -> Any:
    """The parts of a comma-separated list; what is not text is left alone."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def parse_seeds(value: Any) -> Any:
    """A count, or a list of seeds: ``3`` is 0, 1, 2; ``"7,"`` is the seed 7 alone."""
    if isinstance(value, str):
        value = parse_numbers(value) if "," in value else int(value) if value.strip().isdecimal() else value
    if isinstance(value, int) and not isinstance(value, bool):
        if value > MOST_SEEDS:
            raise InputError(
                f"a count of seeds is at most {MOST_SEEDS:,}; got {value:,}. A single seed is written [7]."
            )
        return tuple(range(value))
    return value


class Options(BaseModel):
    """Options of a command: they cannot be changed once made, and there are no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    positional: ClassVar[frozenset[str]] = frozenset()
    """The options that are given without a flag on the command line."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, Mapping) else ():
            if key not in cls.model_fields:
                raise unknown("setting", key, cls.model_fields)
        return values

    def command(self, verb: str) -> str:
        """The command line that does the same.

        Args:
            verb: of the command, such as ``"compare"``.

        Example:
            >>> from altprop.experiment import ExplainSettings
            >>> ExplainSettings(model="runs/mine", index=(0, 3)).command("explain")
            'altprop explain --index 0,3 --model runs/mine'
        """
        words = ["altprop", verb]
        for key in type(self).model_fields:
            value = getattr(self, key)
            if key not in ("out", "name", "overwrite") and value != type(self).model_fields[key].default:
                words += self._words(key, value)
        return shlex.join(words)

    def _words(self, key: str, value: Any) -> list[str]:
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            return [f"--{flag}"]  # all switches are off by default
        return [as_text(key, value)] if key in self.positional else [f"--{flag}", as_text(key, value)]


def as_text(key: str, value: Any) -> str:
    """A setting as it is written on the command line."""
    if key == "seeds":
        return str(len(value)) if value == tuple(range(len(value))) else ",".join(map(str, value)) + ","
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
