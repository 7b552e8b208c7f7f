"""Networks that ``altprop train`` trained, read again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor

from altprop.experiment.data import DATA, load_data
from altprop.experiment.dataset import Dataset
from altprop.experiment.errors import InputError
from altprop.experiment.folder import RESULTS
from altprop.experiment.network import TRAIN_FIRST, Network
from altprop.experiment.results import Results
from altprop.experiment.spiking import is_spiking
from altprop.experiment.weights import load_weights


def trained_network(path: Path, seed: int | None = None, data: Dataset | None = None) -> Network:
    """Load a network that was trained.

    Args:
        path: the folder of the training run, or a file of weights in it.
        seed: of the run, if there are several. Unset: the first.
        data: what it was trained on, if that is no embedded data set.

    Raises:
        InputError: there is no such run, or its weights do not fit the network.
    """
    folder = path if path.is_dir() else path.parent
    results = _training(path, folder)
    settings = results.settings
    if is_spiking(settings.model):
        raise InputError(f"{folder} holds the spiking network {settings.model!r}: LRP has no rules for its neurons.")
    file, seed = _weights_file(path, results, seed)
    network = settings.model_copy(update={"pretrained": False}).network(results.data.shape, seed)
    load_weights(network, file, f"the network of {folder}")
    data = data or _trained_on(results)
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
        raise InputError(
            f"{folder} holds results of `altprop {results.command}`, which keeps no weights. {TRAIN_FIRST}"
        )
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


def _trained_on(results: Results) -> Dataset:
    name = results.data.name
    if name not in DATA:
        raise InputError(
            f"The network was trained on {name!r}, which is no embedded data set: give it to "
            f"altprop.experiment.explain(settings, data=...) in Python."
        )
    data = load_data(name)
    return data.reconstruction() if results.data.task == "reconstruction" else data


def _fitted(image: Image.Image, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """An image as one of the data set: black and white are the lowest and the highest value of the training data."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"The network takes inputs of shape {'×'.join(map(str, shape))}, which are no images.")
    channels, height, width = shape
    small = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height))
    pixels = torch.from_numpy(np.array(small, dtype=np.float32)).reshape(height, width, channels).permute(2, 0, 1)
    return low + (high - low) * pixels / 255
