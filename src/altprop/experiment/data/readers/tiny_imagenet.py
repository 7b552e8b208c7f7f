"""Tiny ImageNet: 200 classes, 64×64 pixels; its published test images have no labels, so that val is for testing."""

from __future__ import annotations

from pathlib import Path

import torch

from altprop.experiment.data.files import Place
from altprop.experiment.data.images import FileImages
from altprop.experiment.data.readers.folders import read_classes
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.data.readers.tables import read_table
from altprop.experiment.errors import InputError

_TABLE = "val/val_annotations.txt"


def read_tiny_imagenet(place: Place) -> Parts:
    """Tiny ImageNet: ``tiny-imagenet-200/train/n01443537/images`` and so on, ``val/val_annotations.txt``."""
    folder = place.folder("tiny-imagenet-200", "wnids.txt")
    place.need(folder, dict.fromkeys(("train", "val/images", _TABLE)), None)
    train, classes = read_classes(folder / "train")
    return Parts(train, _test(folder, classes), classes)


def _test(folder: Path, classes: tuple[str, ...]) -> Part:
    numbers = {name: number for number, name in enumerate(classes)}
    rows = read_table(folder / _TABLE, columns=2)
    for file, name, *_ in rows:
        if name not in numbers:
            raise InputError(
                f"{folder / _TABLE}: {file} is of the class {name}, which has no folder in {folder / 'train'}: put the "
                f"published files there."
            )
    files = tuple(folder / "val" / "images" / file for file, *_ in rows)
    return Part(FileImages(files), torch.tensor([numbers[name] for _, name, *_ in rows]))
