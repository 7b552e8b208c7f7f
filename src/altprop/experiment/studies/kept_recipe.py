"""The networks that ``altprop train`` trained by a recipe, read again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.data.examples import Splits
from altprop.experiment.data.opening import open_data
from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import RuleSection
from altprop.experiment.records.files import DamagedError
from altprop.experiment.records.training import TRAINING, Training
from altprop.experiment.studies.reading import Which, load_trained
from altprop.experiment.training.job import Job

_WHOLE = {"finished", "stopped early", "pruned"}


@dataclass(frozen=True)
class TrainedByRecipe:
    """The networks of a recipe.

    Attributes:
        job: what trained them, but for their seeds.
        rule: the label of the rule.
        networks: by seed, those whose training was not broken off.
    """

    job: Job
    rule: str
    networks: dict[int, nn.Module]


def trained_by_recipe(folder: Path, which: Which, data: Dataset | None = None) -> TrainedByRecipe:
    """Load the networks that a recipe trained.

    Args:
        folder: what ``altprop train recipe.yaml`` wrote.
        which: of each network, as for :func:`~altprop.experiment.studies.reading.load_trained`.
        data: what they were trained on, if the recipe does not say it.

    Raises:
        InputError: the training is not over, a file is missing or broken, or the weights do not fit.
    """
    if not (folder / TRAINING).is_file():
        raise InputError(f"{folder} has no {TRAINING}: its training is not over. Go on with it (--resume).")
    try:
        training = Training.load(folder)
    except DamagedError:
        raise
    except ValueError as error:
        raise InputError(f"{folder / TRAINING} holds no training of `altprop train`.") from error
    splits = open_data(training.recipe.data) if data is None else Splits.of(data)
    seeds = [fit.seed for fit in training.fits if fit.status in _WHOLE]
    networks = {seed: load_trained(folder, seed, which, splits=splits)[0] for seed in seeds}
    return TrainedByRecipe(Job(training.recipe, splits, 0), label_of(training.recipe.rule), networks)


def label_of(section: RuleSection) -> str:
    """A recipe's rule as it is written on a command line.

    Example:
        >>> label_of(RuleSection(name="lfp", epsilon=0, update="oja"))
        'lfp:epsilon=0,update=oja'
    """
    arguments = ",".join(f"{name}={value}" for name, value in (section.model_extra or {}).items())
    return f"{section.name}:{arguments}" if arguments else section.name
