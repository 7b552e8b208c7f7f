"""Recipes: a YAML file that says everything about a training run, checked before anything starts."""

from altprop.experiment.recipes.schema import Recipe

__all__ = ["Recipe"]
