"""Recipes as YAML text."""

from __future__ import annotations

import yaml

from altprop.experiment.recipes.reading import Dumper
from altprop.experiment.recipes.schema import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe with all of its keys, also those that have their defaults.

    Args:
        recipe: any.

    Returns:
        YAML, of which :func:`~altprop.experiment.recipes.load_recipe` makes the same recipe.

    Example:
        >>> print(dump_recipe(Recipe(rule="lfp:epsilon=0")).partition("objective")[0].partition("rule")[2])
        :
          name: lfp
          epsilon: 0
        <BLANKLINE>
    """
    text = yaml.dump(recipe.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return str(text)
