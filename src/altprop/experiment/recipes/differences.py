"""Where recipes differ, and whether it matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import Recipe

_FREE = ("summary", "machine", "checkpoints", "track", "search", "data.root", "data.download", "data.workers")
_LENGTH = ("training.epochs", "training.steps", "training.seeds")


def check_same_recipe(before: dict[str, Any], recipe: Recipe, where: str) -> None:
    """Check that a training may go on by a recipe; its length, machine, loggers and the like may have changed.

    Args:
        before: the recipe that it began by, as JSON has it.
        recipe: the one that is to be gone on by.
        where: what to call what ``before`` is from, in errors.

    Raises:
        InputError: it may not; the message names the first key that differs.
    """
    was, now = flat(before), flat(recipe.model_dump(mode="json"))
    for key in {**now, **was}:
        free = any(key == name or key.startswith(f"{name}.") for name in (*_FREE, *_LENGTH))
        if not free and was.get(key) != now.get(key):
            raise InputError(
                f"{where} is of another recipe: there {key} is {was.get(key)!r}, and here {now.get(key)!r}. Resume "
                f"with the recipe that it was trained by, or train under another name."
            )


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A tree with its keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found
