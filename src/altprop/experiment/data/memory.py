"""Whole data sets in memory, for what goes over them many times: comparisons and explanations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from altprop.experiment.data.embedded import DATA
from altprop.experiment.data.examples import Examples, Splits
from altprop.experiment.data.names import parse_data
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from altprop.experiment.errors import InputError

LIMIT = 2 * 2**30
"""The most bytes that the inputs of a data set may take in memory, as float32: 2 GiB. EuroSAT takes 1.3."""

_AT_A_TIME = 1000


def load_data(text: str) -> Splits:
    """Load a data set by its name, all of it, without augmentation.

    Args:
        text: one of :data:`DATA_SETS`, or ``hf:NAME``; with the folder of its files if need be, as ``NAME:ROOT``.

    Raises:
        InputError: there is no such data set, files are missing or broken, or it is too large for memory.

    Example:
        >>> load_data("circles").input_shape
        (2,)
    """
    name, root = parse_data(text)
    if name in DATA and root is None:
        return DATA[name].load()
    splits = open_data(DataSection(name=name, root=root))
    needed = 4 * (len(splits.train) + len(splits.test)) * math.prod(splits.input_shape)
    if needed > LIMIT:
        raise InputError(
            f"{name} takes {needed / 2**30:.1f} GiB in memory, and {LIMIT / 2**30:g} are the most that is loaded as a "
            f"whole: train on it by a recipe (`altprop train recipe.yaml`), which reads it as it goes."
        )
    parts = (_all(part, splits.input_shape) for part in (splits.train, splits.test))
    train, test = parts
    return Splits.of_tensors(name, train, test, task=splits.task, outputs=splits.outputs)


def download_data(text: str) -> str:
    """Download a data set's files, as far as they are missing, and read them.

    Args:
        text: ``NAME``, or ``NAME:ROOT`` with the folder that they are to be in.

    Returns:
        How many examples there are, in words.

    Raises:
        InputError: there is no such data set, or it cannot be downloaded or read.

    Example:
        >>> download_data("circles")
        'circles: 1,000 examples for training, 500 for testing.'
    """
    name, root = parse_data(text)
    splits = open_data(DataSection(name=name, root=root, download=True))
    own = f", {len(splits.validation):,} for validation" if splits.validation else ""
    return f"{name}: {len(splits.train):,} examples for training{own}, {len(splits.test):,} for testing."


def _all(examples: Examples, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    x = torch.empty(len(examples), *shape)
    targets = []
    for start in range(0, len(x), _AT_A_TIME):
        indices = torch.arange(start, min(start + _AT_A_TIME, len(x)))
        x[indices], y = examples.batch(indices, epoch=0)
        targets.append(y)
    return x, torch.cat(targets)
