"""Keys of a recipe that have a flag of their own: ``--data mnist-5k`` says what ``-o data.name=mnist-5k`` does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from altprop.experiment.data.examples import Task
from altprop.experiment.errors import unknown
from altprop.experiment.recipes.checks import keys
from altprop.experiment.recipes.loading import Change, checked, parse_change
from altprop.experiment.recipes.reading import Tree, read_file
from altprop.experiment.recipes.rules import with_rules_for
from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.recipes.shipped import find_recipe, shipped_recipes

FLAGS = {
    "data": "data.name",
    "task": "data.task",
    "validation": "data.validation",
    "model": "model.name",
    "activation": "model.activation",
    "norm": "model.norm",
    "dropout": "model.dropout",
    "pretrained": "model.pretrained",
    "rules": "rule",
    "objective": "objective.name",
    "optimizer": "optimizer.name",
    "lr": "optimizer.lr",
    "lr_grid": "optimizer.lr_grid",
    "momentum": "optimizer.momentum",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "clip": "training.clip",
    "seeds": "training.seeds",
    "track": "track.metrics",
    "device": "machine.accelerator",
    "devices": "machine.devices",
    "strategy": "machine.strategy",
    "num_nodes": "machine.nodes",
    "precision": "machine.precision",
    "threads": "machine.threads",
}
"""By name, as Python has it, the key of a recipe."""


def make_recipe(
    recipe: Recipe | Path | str,
    changes: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    before: str = "",
    own: bool = False,
) -> Recipe:
    """Make a recipe of another one, with changes.

    Args:
        recipe: a recipe, the file of one, or the name of one that comes with the package.
        changes: as ``"optimizer.lr=0.01"``, of which later ones win.
        flags: by a name of :data:`FLAGS`; these win over ``changes``. What is text is read as on a command line.
        before: what to put before the name of a flag in errors: ``"--"`` on the command line.
        own: whether the data are given in Python, and not by the recipe.

    Raises:
        InputError: something is wrong; the message has a line for each thing, and names the flag or the key.

    Example:
        >>> make_recipe("compare", flags={"data": "circles", "rules": "lfp,dfa", "seeds": 2}).training.seeds
        (0, 1)
        >>> make_recipe("train", flags={"data": "circels"}, before="--")
        Traceback (most recent call last):
        ...
        altprop.experiment.errors.InputError: --data: There is no data set 'circels'. Did you mean 'circles'? ...
    """
    tree = _tree(recipe)
    given = [parse_change(change) for change in changes]
    for name, value in (flags or {}).items():
        if name not in FLAGS:
            raise unknown("setting", name, FLAGS)
        place = f"{before}{name.replace('_', '-') if before else name}: "
        given.append(Change.of(FLAGS[name], value, place, named_alone=True))
    return checked(tree, given, own=own)


def _tree(recipe: Recipe | Path | str) -> Tree:
    if isinstance(recipe, Recipe):
        return Tree("recipe", recipe.model_dump())
    return read_file(find_recipe(str(recipe)))


def command_line(recipe: Recipe, task: Task, *, in_jax: bool = False) -> list[str]:
    """The words of a command that does what a recipe says.

    Args:
        recipe: of a study.
        task: of its data.
        in_jax: whether JAX trained its networks.

    Example:
        >>> recipe = make_recipe("train", flags={"data": "sine", "rules": "lfp:gamma=0.1", "lr": 0.05})
        >>> " ".join(command_line(recipe, "regression"))
        'altprop train --data sine --rules lfp:gamma=0.1 --lr 0.05'
    """
    verb = "compare" if len(recipe.rules) > 1 and not in_jax else "train"
    start = with_rules_for(make_recipe(shipped_recipes()[verb]), task, baselines=verb == "compare")
    was, now = (values_of(one) for one in (start, recipe))
    names = {key: name for name, key in FLAGS.items()}
    words = ["altprop", "flax", verb] if in_jax else ["altprop", verb]
    changed = {key: value for key, value in now.items() if value != was.get(key)}
    rules = ",".join(rule.label for rule in recipe.rules)
    if recipe.rules != start.rules:
        changed["rule"] = rules
    order = {key: number for number, key in enumerate(FLAGS.values())}
    for key in sorted(changed, key=lambda key: order.get(key, len(order))):
        text = as_text(key, changed[key])
        flag = f"--{names[key].replace('_', '-')}" if key in names else ""
        if changed[key] is True and flag:
            words.append(flag)
        else:
            words += [flag, text] if flag else ["-o", f"{key}={text}"]
    return words


def values_of(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe by dotted key, without its summary, its rules and its search."""
    whole = recipe.model_dump(mode="json")
    wanted = [key for key in keys(Recipe) if key != "summary" and not key.startswith("rule.")]
    return {key: reduce(lambda part, name: part[name], key.split("."), whole) for key in wanted}


def as_text(key: str, value: Any) -> str:
    """A value of a recipe as it is written on a command line.

    Example:
        >>> as_text("training.seeds", [0, 1, 2]), as_text("optimizer.lr", {"lfp": 0.1}), as_text("x", True)
        ('3', 'lfp=0.1', 'true')
    """
    if key == "training.seeds":
        return str(len(value)) if list(value) == list(range(len(value))) else ",".join(map(str, value)) + ","
    if isinstance(value, Mapping) and key != "optimizer.lr":
        return json.dumps(value)  # JSON is YAML
    if isinstance(value, Mapping):
        return ",".join(f"{name}={number}" for name, number in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) if value else "[]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
