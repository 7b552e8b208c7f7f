"""Networks that a study trained, read again to be explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from altprop.experiment.data.examples import Splits, TensorExamples
from altprop.experiment.errors import InputError
from altprop.experiment.explaining.network import TRAIN_FIRST, Network
from altprop.experiment.networks.spiking import is_spiking
from altprop.experiment.records.files import run_folder
from altprop.experiment.studies.reading import Which, data_of, load_trained, read_study, rule_and_seed

_LOOKED_AT = 256
"""How many samples that are on disk are looked at for the least and the greatest value."""


def trained_network(path: Path, seed: int | None = None, data: Any = None) -> Network:
    """Load a network that was trained.

    Args:
        path: the folder of a study; or of one of its cells, a checkpoint or a file of weights in it.
        seed: of the network, if there are several. Unset: the first.
        data: what it was trained on, if altprop does not know it.

    Raises:
        InputError: there is no such study, or its weights do not fit the network.
    """
    if not path.exists():
        raise InputError(f"There is no folder or file {path}. {TRAIN_FIRST}")
    # Of a path within a study the study is meant, and never one around it.
    folder = run_folder(path) or path
    study = read_study(folder)
    parts = path.relative_to(folder).parts
    cell = rule_and_seed(parts, study)
    label = cell[0] if cell else study.rules[0]
    seed = seed if seed is not None else cell[1] if cell else study.seeds[0]
    which: Which = "last" if "last" in parts else "final" if "model.safetensors" in parts else "best"
    if is_spiking(study.recipe.model.name):
        raise InputError(
            f"{folder} holds the spiking network {study.recipe.model.name!r}: LRP has no rules for its neurons."
        )
    splits = data_of(study, data)
    module, _, recipe = load_trained(folder, seed, which, rule=label, splits=splits)
    x = _looked_at(splits)
    low, high = float(x.min()), float(x.max())
    numbers = tuple(map(str, range(splits.outputs))) if splits.task == "classification" else ()
    weights = f"{folder}, seed {seed}, the {which} weights"
    return Network(
        module=module,
        name=folder.resolve().name,
        summary=f"{recipe.model.name}, trained by {label} on {splits.name} ({weights})",
        prepare=lambda image: _fitted(image, splits.input_shape, low, high),
        low=low,
        high=high,
        classes=splits.classes or numbers,
        data=splits,
    )


def _looked_at(splits: Splits) -> Tensor:
    if isinstance(splits.train, TensorExamples):
        return splits.train.x
    return splits.train.batch(torch.arange(min(len(splits.train), _LOOKED_AT)), 0)[0]


def _fitted(image: Image.Image, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """An image as one of the data set: black and white are the lowest and the highest value of the training data."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"The network takes inputs of shape {'×'.join(map(str, shape))}, which are no images.")
    channels, height, width = shape
    small = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height))
    pixels = torch.from_numpy(np.array(small, dtype=np.float32)).reshape(height, width, channels).permute(2, 0, 1)
    return low + (high - low) * pixels / 255
