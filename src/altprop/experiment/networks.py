"""The networks that can be explained: those of ``altprop train``, and torchvision's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from altprop.experiment.data import DATA, load_data
from altprop.experiment.dataset import Dataset
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.folder import RESULTS
from altprop.experiment.models import build_model
from altprop.experiment.results import Results
from altprop.experiment.seeding import seeded
from altprop.experiment.weights import load_weights

_TORCHVISION = "torchvision:"
_TRAIN_FIRST = (
    "Name a network to explain with --model: the folder of a training run, or one of torchvision such as "
    "torchvision:vgg16:DEFAULT. For the digits, train one first: `altprop train --rule backprop --data digits "
    "--name my-digits`, then `altprop explain --model runs/my-digits --index 3`."
)


@dataclass(frozen=True)
class Network:
    """A network that can be explained, and what it takes.

    Attributes:
        module: the network, in evaluation mode.
        name: a short name, fit for a folder's.
        summary: what it is, in words.
        prepare: turns an image into an input, of shape (channels, height, width); raises InputError if it takes none.
        low: the lowest value that an input can have, a number or a tensor that broadcasts to an input.
        high: the highest value.
        classes: the names of the outputs; empty if they have none.
        data: what it was trained on; None if that is not known.
        notes: what the reader should know.
    """

    module: nn.Module
    name: str
    summary: str
    prepare: Callable[[Image.Image], Tensor]
    low: float | Tensor
    high: float | Tensor
    classes: tuple[str, ...] = ()
    data: Dataset | None = None
    notes: tuple[str, ...] = ()


def load_network(
    model: str | None,
    *,
    weights: Path | None = None,
    seed: int | None = None,
    size: int | None = None,
    data: Dataset | None = None,
) -> Network:
    """Load the network that a text names.

    Args:
        model: a folder of ``altprop train``, or a file of weights in it; or ``"torchvision:NAME"``, with random weights, or
            ``"torchvision:NAME:WEIGHTS"``, with weights that torchvision downloads.
        weights: a file of weights, for torchvision.
        seed: of random weights; or which of several training runs. Unset: 0, or the first.
        size: the side of images, for torchvision. Unset: what the network is made for.
        data: what the network was trained on, if that is no embedded data set.

    Raises:
        InputError: there is no such network, its weights do not fit, or an argument is not for it.
    """
    if not model:
        raise InputError(_TRAIN_FIRST)
    if model.startswith(_TORCHVISION):
        return _torchvision(model, weights, seed, size)
    if weights is not None or size is not None:
        option = "--weights" if weights is not None else "--size"
        raise InputError(f"{option} is for networks of torchvision, not for {model}, whose training run fixed it.")
    return _checkpoint(Path(model), seed, data)


def _checkpoint(path: Path, seed: int | None, data: Dataset | None) -> Network:
    folder = path if path.is_dir() else path.parent
    results = _training(path, folder)
    settings = results.settings
    file, seed = _weights_file(path, results, seed)
    network = build_model(
        settings.model, results.data.shape, activation=settings.activation, norm=settings.norm, seed=seed
    )
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
        raise InputError(f"There is no folder or file {path}. {_TRAIN_FIRST}")
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
        raise InputError(f"{folder} holds results of `altprop {results.command}`, which keeps no weights. {_TRAIN_FIRST}")
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
    return low + (high - low) * pil_to_tensor(small).float() / 255


def _torchvision(model: str, weights: Path | None, seed: int | None, size: int | None) -> Network:
    name, _, pretrained = model.removeprefix(_TORCHVISION).partition(":")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("torchvision model", name, known)
    if pretrained and weights is not None:
        raise InputError(f"Give either weights of torchvision, as in {model}, or a file (--weights), not both.")
    entries = torchvision.models.get_model_weights(name)
    if pretrained and pretrained not in entries.__members__:
        raise unknown(f"set of weights for torchvision's {name} called", pretrained, entries.__members__)
    chosen = entries[pretrained] if pretrained else None
    with seeded(seed or 0):
        network = _built(name, chosen)
    notes = []
    if weights is not None:
        load_weights(network, weights, f"torchvision's {name}")
    elif chosen is None:
        notes = [
            f"The weights of {name} are random (seed {seed or 0}), so that the explanations say nothing about the images. "
            f"For trained weights: --model {_TORCHVISION}{name}:DEFAULT, or a file (--weights)."
        ]
    entry = chosen or entries.DEFAULT
    sides = {} if size is None else {"crop_size": size, "resize_size": size}
    transforms = entry.transforms(**sides)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (transforms.mean, transforms.std))
    origin = f"weights {pretrained}" if pretrained else f"weights of {weights}" if weights else "random weights"
    return Network(
        module=network.eval(),
        name=name,
        summary=f"torchvision's {name}, {origin}",
        prepare=lambda image: transforms(image.convert("RGB")),
        low=(0 - mean) / std,
        high=(1 - mean) / std,
        classes=tuple(entry.meta["categories"]),
        notes=tuple(notes),
    )


def _built(name: str, weights: torchvision.models.WeightsEnum | None) -> nn.Module:
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:
        if weights is None:
            raise
        raise InputError(
            f"The weights {weights.name} of {name} could not be downloaded: {error}. Give a file instead (--weights)."
        ) from error
    return network
