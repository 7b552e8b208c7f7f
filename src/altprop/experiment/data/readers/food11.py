"""Food-11: folders training, validation and evaluation, with files whose names begin with the class."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from altprop.experiment.data.files import Place
from altprop.experiment.data.images import FileImages
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.errors import InputError

_CLASSES = (
    "Bread",
    "Dairy product",
    "Dessert",
    "Egg",
    "Fried food",
    "Meat",
    "Noodles/Pasta",
    "Rice",
    "Seafood",
    "Soup",
    "Vegetable/Fruit",
)


def read_food11(place: Place) -> Parts:
    """Food-11: ``food-11/training/0_12.jpg`` and so on, where 0 is the class."""
    folder = place.folder("food-11", "training")
    place.need(folder, dict.fromkeys(("training", "validation", "evaluation")), None)
    train, validation, test = (_part(folder / name) for name in ("training", "validation", "evaluation"))
    return Parts(train, test, _CLASSES, validation)


def _part(folder: Path) -> Part:
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise InputError(f"{folder} holds no images: put files such as 0_12.jpg there, where 0 is the class.")
    return Part(FileImages(tuple(files)), torch.tensor([_class(file) for file in files]))


def _class(file: Path) -> int:
    found = re.fullmatch(r"(\d+)_\d+", file.stem)
    if not found or int(found[1]) >= len(_CLASSES):
        raise InputError(f"{file} is not named CLASS_NUMBER.jpg, with a class from 0 to 10: rename it, or remove it.")
    return int(found[1])
