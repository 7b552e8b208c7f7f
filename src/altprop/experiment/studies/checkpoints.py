"""Networks that ``altprop train`` trained, read again to be explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor

from altprop.experiment.data.catalog import DATA_SETS
from altprop.experiment.data.dataset import Dataset
from altprop.experiment.data.examples import Splits, TensorExamples
from altprop.experiment.data.memory import load_data
from altprop.experiment.data.names import parse_data
from altprop.experiment.errors import InputError
from altprop.experiment.explaining.network import TRAIN_FIRST, Network
from altprop.experiment.networks.spiking import is_spiking
from altprop.experiment.networks.weights import load_weights
from altprop.experiment.records.files import run_folder
from altprop.experiment.records.folder import RESULTS
from altprop.experiment.results import Results

if TYPE_CHECKING:
    from altprop.experiment.studies.reading import Which

RECIPE = "recipe.yaml"
"""The file by which a folder is known to hold a training by a recipe."""

_LOOKED_AT = 256
"""How many samples that are on disk are looked at for the least and the greatest value."""


def trained_network(path: Path, seed: int | None = None, data: Dataset | None = None) -> Network:
    """Load a network that was trained.

    Args:
        path: the folder of the training run, or a file of weights in it; of a training by a recipe also the folder of
            one seed, or a checkpoint in it.
        seed: of the run, if there are several. Unset: the first.
        data: what it was trained on, if that is no embedded data set.

    Raises:
        InputError: there is no such run, or its weights do not fit the network.
    """
    place = _of_recipe(path)
    if place is not None:
        return _fitted_network(place, path, seed, data)
    folder = path if path.is_dir() else path.parent
    results = _training(path, folder)
    settings = results.settings
    if is_spiking(settings.model):
        raise InputError(f"{folder} holds the spiking network {settings.model!r}: LRP has no rules for its neurons.")
    file, seed = _weights_file(path, results, seed)
    network = settings.model_copy(update={"pretrained": False}).network(results.data.shape, seed)
    load_weights(network, file, f"the network of {folder}")
    data = data or trained_on(results)
    low, high = float(data.x_train.min()), float(data.x_train.max())
    classes = tuple(map(str, range(data.outputs))) if data.task == "classification" else ()
    rule = settings.rules[0]
    return Network(
        module=network.eval(),
        name=folder.resolve().name,
        summary=f"{settings.model}, trained by {rule} on {data.name}, seed {seed} ({file})",
        prepare=lambda image: _fitted(image, results.data.input_shape, low, high),
        low=low,
        high=high,
        classes=classes,
        data=data,
    )


def _of_recipe(path: Path) -> Path | None:
    """The folder of the training by a recipe that a path is in; None if it is in none."""
    folder = run_folder(path)
    return folder if folder is not None and (folder / RECIPE).is_file() else None


def _fitted_network(folder: Path, path: Path, seed: int | None, data: Dataset | None) -> Network:
    # Lightning Fabric takes long to import, and only these networks need it.
    from altprop.experiment.studies.reading import load_trained, recipe_of  # noqa: PLC0415

    parts = path.relative_to(folder).parts
    named = next((int(part[5:]) for part in parts if re.fullmatch(r"seed-\d+", part)), None)
    which: Which = "last" if "last" in parts else "final" if "model.safetensors" in parts else "best"
    recipe = recipe_of(folder)
    if is_spiking(recipe.model.name):
        raise InputError(f"{folder} holds the spiking network {recipe.model.name!r}: LRP has no rules for its neurons.")
    given = Splits.of(data) if data else None
    module, splits, _ = load_trained(folder, seed if seed is not None else named, which, splits=given)
    data = data or _in_memory(splits)
    x, _ = splits.train.batch(torch.arange(min(len(splits.train), _LOOKED_AT)), 0)
    low, high = (
        (float(x.min()), float(x.max())) if data is None else (float(data.x_train.min()), float(data.x_train.max()))
    )
    numbers = tuple(map(str, range(splits.outputs))) if splits.task == "classification" else ()
    return Network(
        module=module,
        name=folder.resolve().name,
        summary=f"{recipe.model.name}, trained by {recipe.rule.name} on {splits.name} ({folder}, the {which} weights)",
        prepare=lambda image: _fitted(image, splits.input_shape, low, high),
        low=low,
        high=high,
        classes=splits.classes or numbers,
        data=data,
    )


def _in_memory(splits: Splits) -> Dataset | None:
    train, test = splits.train, splits.test
    if not (isinstance(train, TensorExamples) and isinstance(test, TensorExamples)):
        return None
    return Dataset(splits.name, splits.task, train.x, train.y, test.x, test.y, splits.outputs)


def _training(path: Path, folder: Path) -> Results:
    if not path.exists():
        raise InputError(f"There is no folder or file {path}. {TRAIN_FIRST}")
    if not (folder / RESULTS).is_file():
        raise InputError(
            f"{folder} has no {RESULTS}, which says what network its weights are for: give the folder that "
            f"`altprop train` wrote, or a model.pt in it."
        )
    try:
        results = Results.load(folder)
    except ValidationError as error:
        raise InputError(f"{folder / RESULTS} holds no results of `altprop train`.") from error
    if results.command != "train":
        raise InputError(f"{folder} holds results of `altprop {results.command}`, not of one network. {TRAIN_FIRST}")
    return results


def _weights_file(path: Path, results: Results, seed: int | None) -> tuple[Path, int]:
    """The file of weights that is meant, and the seed of its run."""
    seeds = results.settings.seeds
    if path.is_file():
        found = re.search(r"-seed-(\d+)$", path.stem)
        return path, int(found[1]) if found else seeds[0]
    there = {
        one: file
        for one in seeds
        if (file := path / ("model.pt" if len(seeds) == 1 else f"model-seed-{one}.pt")).is_file()
    }
    if not there:
        raise InputError(f"{path} holds no weights: every run diverged, or was stopped before its end.")
    seed = next(iter(there)) if seed is None else seed
    if seed not in there:
        raise InputError(f"{path} has no weights of seed {seed}, but of {', '.join(map(str, there))}.")
    return there[seed], seed


def trained_on(results: Results) -> Dataset:
    """The data set that networks were trained on.

    Raises:
        InputError: altprop does not know it, or its files are not there.
    """
    name, given = results.data.name, results.settings.data
    if name != parse_data(given)[0] and name not in DATA_SETS:
        raise InputError(
            f"The network was trained on {name!r}, which is no data set that altprop knows: give it in Python, as "
            f"data=..."
        )
    data = load_data(given if name == parse_data(given)[0] else name)
    return data.reconstruction() if results.data.task == "reconstruction" else data


def _fitted(image: Image.Image, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """An image as one of the data set: black and white are the lowest and the highest value of the training data."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"The network takes inputs of shape {'×'.join(map(str, shape))}, which are no images.")
    channels, height, width = shape
    small = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height))
    pixels = torch.from_numpy(np.array(small, dtype=np.float32)).reshape(height, width, channels).permute(2, 0, 1)
    return low + (high - low) * pixels / 255
