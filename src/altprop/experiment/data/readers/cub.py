"""CUB-200-2011: photographs of birds, with tables of their classes and of the split."""

from __future__ import annotations

from pathlib import Path

import torch

from altprop.experiment.data.files import Place
from altprop.experiment.data.images import FileImages
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.data.readers.tables import read_table
from altprop.experiment.errors import InputError

_TABLES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def read_cub(place: Place) -> Parts:
    """CUB-200-2011: ``CUB_200_2011``, with ``images``, ``images.txt`` and three more tables."""
    folder = place.folder("CUB_200_2011", "train_test_split.txt")
    place.need(folder, dict.fromkeys(("images", *_TABLES)), None)
    files, labels, split, names = ({row[0]: row[1] for row in read_table(folder / name, 2)} for name in _TABLES)
    numbers = {number: place for place, number in enumerate(names)}
    for table, name in ((labels, _TABLES[1]), (split, _TABLES[2])):
        _check_same(folder, files, table, name)
    strange = next((image for image, number in labels.items() if number not in numbers), None)
    if strange is not None:
        raise InputError(
            f"{folder / _TABLES[1]}: image {strange} is of the class {labels[strange]}, which classes.txt has not: put "
            f"the published files there."
        )
    parts = {}
    for mark in ("1", "0"):
        images = [image for image in files if split[image] == mark]
        if not images:
            raise InputError(f"{folder / _TABLES[2]} has no image marked {mark}: put the published file there.")
        paths = tuple(folder / "images" / files[image] for image in images)
        parts[mark] = Part(FileImages(paths), torch.tensor([numbers[labels[image]] for image in images]))
    return Parts(parts["1"], parts["0"], tuple(names.values()))


def _check_same(folder: Path, files: dict[str, str], table: dict[str, str], name: str) -> None:
    missing = next((image for image in files if image not in table), None)
    if missing is not None:
        raise InputError(
            f"{folder / name} has no image {missing}, which images.txt has: put the published files there."
        )
