"""What was chosen for a run, by dotted key of a recipe, so that runs of all kinds can be told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.differences import flat
from altprop.experiment.recipes.learning import OPTIMIZER_KEYS
from altprop.experiment.reports.records import Entry

# Not what a network is, or shown in columns of their own.
_LEFT_OUT = (
    "summary",
    "rule",
    *(f"data.{key}" for key in ("name", "root", "download", "workers", "task")),
    "optimizer.lr",
    "training.epochs",
    "training.seeds",
    "checkpoints",
    "track",
    "search",
)
_PLACES = ("machine.accelerator", "machine.devices", "machine.nodes", "machine.strategy", "machine.threads")


def settings_of(recipe: Recipe, **more: Any) -> dict[str, Any]:
    """What a recipe chooses, flat; without the data, the rule, the rate and the epochs, which have their own columns.

    Args:
        recipe: any.
        **more: values that the recipe leaves open, by dotted key with a double underscore for the dot.

    Example:
        >>> chosen = settings_of(Recipe(model="lenet"), objective__name="mse")
        >>> chosen["model.name"], chosen["objective.name"], "data.name" in chosen
        ('lenet', 'mse', False)
    """
    chosen = flat(recipe.model_dump(mode="json")) | {key.replace("__", "."): value for key, value in more.items()}
    used = OPTIMIZER_KEYS[recipe.optimizer.name]
    unused = (f"optimizer.{key}" for keys in OPTIMIZER_KEYS.values() for key in keys if key not in used)
    hidden = (*_LEFT_OUT, *_PLACES, *unused)
    return {key: value for key, value in chosen.items() if not _under(key, hidden)} | {"framework": "torch"}


def differing(entries: Iterable[Entry]) -> list[str]:
    """The keys whose values are not the same in all entries."""
    entries = list(entries)
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    # What one does not say, as one that is in another framework or is not over, does not set it apart.
    return [key for key in keys if len({repr(entry.settings[key]) for entry in entries if key in entry.settings}) > 1]


def short(key: str) -> str:
    """What a column is called.

    Example:
        >>> short("model.name"), short("training.batch_size")
        ('model', 'batch size')
    """
    section, _, last = key.rpartition(".")
    return section.rpartition(".")[2] if last == "name" else last.replace("_", " ")


def word(value: Any) -> str:
    """A value for the reader."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(word, value)) if isinstance(value, list | tuple) else str(value)


def _under(key: str, parts: Iterable[str]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)
