"""Errors that are the reader's to mend: what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from altprop._names import did_you_mean

_MANY = 40
_NEEDED = (
    "PIL",
    "jinja2",
    "lightning_fabric",
    "matplotlib",
    "mlxtend",
    "mnist1d",
    "numpy",
    "optuna",
    "pydantic",
    "rich",
    "safetensors",
    "sklearn",
    "tensorboard",
    "torchvision",
    "yaml",
)


class InputError(ValueError):
    """What was asked for cannot be done. The message says why, and what can."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among the known ones.

    Args:
        kind: what the name should have been, such as ``"rule"``.
        name: what was given.
        known: all names of this kind.

    Example:
        >>> print(unknown("rule", "lpf", ["backprop", "lfp"]))
        There is no rule 'lpf'. Did you mean 'lfp'? Known: backprop, lfp.
    """
    known = list(known)
    if len(known) > _MANY:
        hint = did_you_mean(name, known, most=5, cutoff=0.5)
        return InputError(f"There is no {kind} {name!r}.{hint} {len(known)} are known, such as {known[0]!r}.")
    return InputError(f"There is no {kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def check_extra() -> None:
    """Check that the packages that experiments need are installed.

    Raises:
        ModuleNotFoundError: some are missing; the message names the extra that brings them.
    """
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(
            f"Experiments need packages that are not installed ({', '.join(missing)}). "
            f"Install them with: pip install 'altprop[experiments]'",
            name=missing[0],
        )
