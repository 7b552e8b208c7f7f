"""The networks that ``altprop train`` trained by a recipe, read again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from altprop.experiment.dataset import Dataset
from altprop.experiment.errors import InputError
from altprop.experiment.fitting.job import Job
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.schema import RuleSection
from altprop.experiment.sources.opening import open_data
from altprop.experiment.sources.splits import Splits
from altprop.experiment.weights import load_weights

TRAINING, WEIGHTS = "training.json", "model.safetensors"
_WHOLE = {"finished", "stopped early", "pruned"}


class _Fit(BaseModel):
    """What matters here of a network's training."""

    model_config = ConfigDict(extra="ignore")

    seed: int
    status: str


class _Training(BaseModel):
    model_config = ConfigDict(extra="ignore")

    recipe: Recipe
    fits: tuple[_Fit, ...]


@dataclass(frozen=True)
class TrainedByRecipe:
    """The networks of a recipe.

    Attributes:
        job: what trained the first of them.
        rule: the label of the rule.
        networks: by seed, those whose training was not broken off.
    """

    job: Job
    rule: str
    networks: dict[int, nn.Module]


def trained_by_recipe(folder: Path, data: Dataset | None = None) -> TrainedByRecipe:
    """Load the networks that a recipe trained.

    Args:
        folder: what ``altprop train recipe.yaml`` wrote.
        data: what they were trained on, if the recipe does not say it.

    Raises:
        InputError: a file is missing or broken, or the weights do not fit.
    """
    try:
        training = _Training.model_validate(json.loads((folder / TRAINING).read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(f"{folder / TRAINING} holds no training of `altprop train`.") from error
    recipe = training.recipe
    # The published weights that it may have started from are not needed again.
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"pretrained": False})})
    splits = open_data(recipe.data) if data is None else Splits.of(data)
    networks = {}
    for fit in training.fits:
        if fit.status in _WHOLE:
            network = Job(recipe, splits, fit.seed).model()
            load_weights(network, folder / f"seed-{fit.seed}" / WEIGHTS, f"the network of {folder}")
            networks[fit.seed] = network
    return TrainedByRecipe(Job(recipe, splits, 0), label_of(recipe.rule), networks)


def label_of(section: RuleSection) -> str:
    """A recipe's rule as it is written on a command line.

    Example:
        >>> label_of(RuleSection(name="lfp", epsilon=0, update="oja"))
        'lfp:epsilon=0,update=oja'
    """
    arguments = ",".join(f"{name}={value}" for name, value in (section.model_extra or {}).items())
    return f"{section.name}:{arguments}" if arguments else section.name
