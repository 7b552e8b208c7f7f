"""Recipes: a YAML file that says everything about a training run, checked before anything starts."""

from altprop.experiment.recipes.checks import check_recipe
from altprop.experiment.recipes.loading import load_recipe, parse_recipe
from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.recipes.shipped import find_recipe, shipped_recipes
from altprop.experiment.recipes.writing import dump_recipe

__all__ = ["Recipe", "check_recipe", "dump_recipe", "find_recipe", "load_recipe", "parse_recipe", "shipped_recipes"]
