"""Networks that were trained by a recipe, read again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from safetensors.torch import load
from torch import Tensor, nn

from altprop.experiment.data.examples import Splits
from altprop.experiment.data.opening import open_data
from altprop.experiment.errors import InputError
from altprop.experiment.networks.weights import put_weights
from altprop.experiment.recipes import Recipe, parse_recipe
from altprop.experiment.records.facts import RECIPE, WEIGHTS
from altprop.experiment.records.files import DamagedError, read_checked, read_checked_text
from altprop.experiment.records.training import TRAINING, Training
from altprop.experiment.training.checkpoints import BrokenCheckpointError, read_checkpoint
from altprop.experiment.training.job import Job

Which = Literal["best", "last", "final"]


def load_trained(
    folder: Path | str, seed: int | None = None, which: Which = "best", *, splits: Splits | None = None
) -> tuple[nn.Module, Splits, Recipe]:
    """Load a network that :func:`train_recipe` trained.

    Args:
        folder: of the training.
        seed: of the network, if there are several. Unset: the first.
        which: ``"best"``: of the epoch that was best by ``training.monitor``; ``"last"``: of the last checkpoint;
            ``"final"``: as it was at the end.
        splits: what it was trained on, if the recipe does not say.

    Returns:
        The network in evaluation mode, without its rule; the data, opened again; and the recipe.

    Raises:
        InputError: there is no such training, no such network in it, or its files are damaged.
    """
    folder = Path(folder)
    recipe = recipe_of(folder)
    seed = recipe.training.seeds[0] if seed is None else seed
    place = folder / f"seed-{seed}"
    if not place.is_dir():
        there = sorted(path.name.removeprefix("seed-") for path in folder.glob("seed-*"))
        raise InputError(f"{folder} has no network of seed {seed}, but of {', '.join(there) or 'none'}.")
    splits = open_data(recipe.data) if splits is None else splits
    network = Job(recipe, splits, seed).blank_model()
    if which == "final":
        put_weights(network, load(read_checked(place / WEIGHTS)), place / WEIGHTS, f"the network of {folder}")
    else:
        network.load_state_dict(_weights(place / which, network))
    return network.eval(), splits, recipe


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a training, also of one that is not over.

    Raises:
        InputError: the folder holds none.
    """
    if (folder / TRAINING).is_file():
        try:
            return Training.load(folder).recipe
        except DamagedError:
            raise
        except ValueError as error:
            raise InputError(f"{folder / TRAINING} holds no results of a training by a recipe.") from error
    if (folder / RECIPE).is_file():
        return parse_recipe(read_checked_text(folder / RECIPE), source=str(folder / RECIPE))
    raise InputError(f"{folder} holds no training by a recipe: it has neither {TRAINING} nor {RECIPE}.")


def _weights(checkpoint: Path, network: nn.Module) -> dict[str, Tensor]:
    """The network's own part of a checkpoint, which holds the rule's too."""
    if not checkpoint.is_dir():
        raise InputError(f"There is no checkpoint {checkpoint}: the training ended before its first epoch did.")
    try:
        state = read_checkpoint(checkpoint).model
    except BrokenCheckpointError as error:
        raise InputError(f"A checkpoint cannot be used: {error}") from error
    missing = [name for name in network.state_dict() if name not in state]
    if missing:
        raise InputError(f"{checkpoint} is of another network: it has no {missing[0]}.")
    return {name: state[name] for name in network.state_dict()}
