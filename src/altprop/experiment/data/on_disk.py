"""From the files of a data set to its parts, as a recipe asks for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from altprop.experiment.data.catalog import DataSet
from altprop.experiment.data.choose import choose
from altprop.experiment.data.examples import Splits
from altprop.experiment.data.files import Place
from altprop.experiment.data.images import ImageExamples, Images
from altprop.experiment.data.names import HUB
from altprop.experiment.data.preparing import Look
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.data.section import DataSection
from altprop.experiment.errors import InputError

ROOT = Path("data")
"""Where files are looked for, and downloaded to, unless another folder is named."""

_TEST = 0.2
"""The share of the images that is for testing, where the publishers named none."""


def open_files(section: DataSection, known: DataSet, read: Callable[[Place], Parts]) -> Splits:
    """Open a data set of image files.

    Args:
        section: what to take of it.
        known: what is known of it.
        read: reads its files.

    Raises:
        InputError: files are missing or broken, or too few examples are left.
    """
    if section.name.startswith(HUB) and section.root is not None:
        raise InputError(f"{section.name} is kept in the cache of Hugging Face (HF_HOME): leave out {section.root}.")
    parts = read(Place(section.name, (section.root or ROOT).expanduser(), section.download, known.origin))
    look = parts.look or known.look or Look(224, photo=True)
    side = section.size or look.size
    train, validation, test = _cut(parts, section)
    examples = partial(ImageExamples, look=look, size=side, seed=section.seed)
    splits = Splits(
        name=section.name,
        task="classification",
        input_shape=(look.channels, side, side),
        outputs=len(parts.classes),
        classes=parts.classes,
        train=examples(*train, augment=section.augment),
        validation=examples(*validation) if validation else None,
        test=examples(*test),
    )
    return splits.reconstruction() if section.task == "reconstruction" else splits


_Cut = tuple[Images, Tensor, Tensor]
"""Images, the numbers of those that are meant, and their classes."""


def _cut(parts: Parts, section: DataSection) -> tuple[_Cut, _Cut | None, _Cut]:
    """What is for training, for validation, and for testing."""
    numbers = torch.arange(len(parts.train.targets))
    if parts.test is None:
        # The same for every seed: what a network is tested on does not depend on the settings of its training.
        held_out, numbers = choose(parts.train.targets, _TEST, 0, "test")
        test = _taken(parts.train, held_out)
    else:
        test = _whole(parts.test)
    if section.fraction < 1:
        numbers = numbers[choose(parts.train.targets[numbers], section.fraction, section.seed, "fraction")[0]]
    validation = None if parts.validation is None else _whole(parts.validation)
    if section.validation:
        held_out, rest = choose(parts.train.targets[numbers], section.validation, section.seed, "validation")
        validation, numbers = _taken(parts.train, numbers[held_out]), numbers[rest]
    return _taken(parts.train, numbers), validation, test


def _taken(part: Part, numbers: Tensor) -> _Cut:
    return part.images, numbers, part.targets[numbers]


def _whole(part: Part) -> _Cut:
    return _taken(part, torch.arange(len(part.targets)))
