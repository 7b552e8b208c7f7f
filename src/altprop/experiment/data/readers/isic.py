"""ISIC 2019: photographs of skin lesions, with a table that has a column for each diagnosis."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from altprop.experiment.data.files import Place
from altprop.experiment.data.images import FileImages
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.errors import InputError

_TABLE, _IMAGES = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Input"
_SMALLER = "_downsampled"


def read_isic(place: Place) -> Parts:
    """ISIC 2019: ``ISIC_2019_Training_Input/ISIC_0000000.jpg`` and so on, and the table of the training images.

    The diagnoses of the test images are not published. A lesion that is there in two sizes counts once.
    """
    folder = place.folder("ISIC_2019", _TABLE)
    place.need(folder, dict.fromkeys((_TABLE, _IMAGES)), None)
    header, rows = _read(folder / _TABLE)
    lesions = {row[0].removesuffix(_SMALLER): row for row in rows}  # of two rows the last
    classes = {image: _diagnosis(folder / _TABLE, row) for image, *row in lesions.values()}
    paths = tuple(folder / _IMAGES / f"{image}.jpg" for image in classes)
    return Parts(Part(FileImages(paths), torch.tensor(list(classes.values()))), None, tuple(header[1:]))


def _read(table: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            header, *rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InputError(f"{table} is no table with a line for each image: put the published file there.") from error
    short = next((row for row in rows if len(row) != len(header)), None)
    if short is not None or not rows or header[0] != "image":
        what = f"the line of {short[0]} has {len(short)} columns" if short else "it has no column image, or no images"
        raise InputError(f"{table}: {what}: put the published file there.")
    return header, rows


def _diagnosis(table: Path, marks: list[str]) -> int:
    """The number of the column that is 1."""
    try:
        found = [number for number, mark in enumerate(marks) if float(mark) == 1]
    except ValueError:
        found = []
    if len(found) != 1:
        raise InputError(f"{table}: of {', '.join(marks)} one must be 1, the diagnosis: put the published file there.")
    return found[0]
