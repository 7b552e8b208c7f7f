"""What of a recipe JAX can do: all else is refused, before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.flags import values_of
from altprop.experiment.recipes.schema import ALL
from altprop.flax.networks import ACTIVATIONS, RULES
from altprop.flax.optimizing import OBJECTIVES, OPTIMIZERS
from altprop.flax.tracking import METRICS

_DONE = re.compile(
    r"""(data|scheduler|checkpoints|track)\..+ | model\.(name|activation|zero_init) | machine\.accelerator
    | objective\.(name|label_smoothing)
    | optimizer\.(name|lr|lr_grid|momentum|nesterov|betas|weight_decay)
    | training\.(epochs|steps|batch_size|clip|early_stopping(\..+)?|monitor|seeds)""",
    re.VERBOSE,
)
"""The keys that JAX does as they say."""

_WHY = {
    "model": "its networks are fully connected layers with activations between them",
    "machine": "it trains on one device, in single precision",
    "training.accumulate": "it trains on one device, and cuts no batch into parts",
}

_SINGLE_DEVICE = "it trains on the processor or on one GPU: take cpu, cuda, cuda:1 or auto"


def check_for_jax(recipe: Recipe) -> None:
    """Check that JAX can do what a recipe says.

    Raises:
        InputError: it cannot; the message has a line for each key, with the reason.

    Example:
        >>> check_for_jax(Recipe(rule="lfp", model={"dropout": 0.5}))
        Traceback (most recent call last):
        ...
        altprop.experiment.errors.InputError: model.dropout: this key has no meaning under JAX: its networks are ...
    """
    found = [f"{key}: {message}" for check in (_keys, _values, _rules) for key, message in check(recipe)]
    if found:
        raise InputError("\n".join(found))


def jax_keys() -> set[str]:
    """The keys of a recipe that JAX does."""
    return {key for key in values_of(Recipe()) if _DONE.fullmatch(key)} | {"rule"}


def _keys(recipe: Recipe) -> Iterator[tuple[str, str]]:
    usual, given = values_of(Recipe()), values_of(recipe)
    for key, value in given.items():
        if value != usual[key] and not _DONE.fullmatch(key):
            why = _WHY.get(key, _WHY.get(key.partition(".")[0], "its training does not have it"))
            yield key, f"this key has no meaning under JAX: {why}."


def _values(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"\d+(-\d+)*", recipe.model.name):
        yield "model.name", f"JAX trains fully connected networks, such as 256-256, and not {recipe.model.name!r}."
    known: list[tuple[str, str, Collection[str]]] = [
        ("model.activation", recipe.model.activation, ACTIVATIONS),
        ("objective.name", recipe.objective.name or OBJECTIVES[0], OBJECTIVES),
        ("optimizer.name", recipe.optimizer.name, OPTIMIZERS),
        *(("track.metrics", name, METRICS) for name in recipe.track.metrics),
    ]
    for key, name, names in known:
        if name not in names:
            yield key, f"{name!r} is not there under JAX. Known: {', '.join(names)}."
    if recipe.machine.accelerator == "mps":
        yield "machine.accelerator", f"'mps' is not there under JAX: {_SINGLE_DEVICE}."


def _rules(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for rule in recipe.rules:
        if rule.name == ALL:
            continue
        if rule.name not in RULES:
            yield "rule", f"{rule.name!r} is not there under JAX. Known: {', '.join(RULES)}."
            continue
        for name, value in rule.arguments.items():
            if name not in RULES[rule.name]:
                arguments = f"only {', '.join(RULES[rule.name])}" if RULES[rule.name] else "no arguments"
                yield f"rule.{name}", f"this key has no meaning under JAX: {rule.name} takes {arguments} there."
            elif value == "batchwise":
                yield f"rule.{name}", "magnitudes that are drawn at each step are not there under JAX: take fixed."
