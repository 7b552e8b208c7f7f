"""Data sets of images of the Hugging Face Hub, or saved in its format."""

# ruff: noqa: PLC0415  (datasets is an extra, and takes long to import)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from altprop._extras import how_to_install
from altprop.experiment.data.files import Place
from altprop.experiment.data.images import decoded
from altprop.experiment.data.names import HUB
from altprop.experiment.data.preparing import Look
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.errors import InputError

_TEST = ("test", "validation", "valid", "val")
_LABELS = ("label", "labels", "fine_label")
_GREY = ("1", "L", "LA", "I", "I;16", "F")
_SMALL = 64
"""Images of up to this many pixels are no photographs: they keep their size."""
_SAMPLE = 2000
"""How many images the mean and deviation of grey ones are taken from."""


@dataclass(frozen=True)
class HubImages:
    """Images of a table, decoded whenever they are asked for.

    Attributes:
        table: of :mod:`datasets`.
        column: of the images.
        mode: ``"RGB"``, or ``"L"`` for grey.
        where: they are from, for errors.
    """

    table: Any
    column: str
    mode: str
    where: str

    def __len__(self) -> int:
        return len(self.table)

    def image(self, number: int) -> Tensor:
        """See :class:`~altprop.experiment.data.images.Images`."""
        return decoded(lambda: self.table[number][self.column], self.mode, f"{self.where}, image {number}")


def read_huggingface(place: Place) -> Parts:
    """A data set of the Hub, or a local folder of one: saved by ``save_to_disk``, or of parquet or image files."""
    name = place.name.removeprefix(HUB)
    if not name:
        raise InputError(f"Name a data set of the Hugging Face Hub, or a folder, such as {HUB}ylecun/mnist.")
    tables = _tables(place, name)
    if "train" not in tables:
        raise InputError(f"{place.name} has no part called train, only {', '.join(tables)}: add one, or take another.")
    features = tables["train"].features
    image, label = _columns(place.name, features)
    pillow = _first(tables["train"], image, place.name)
    mode = "L" if pillow.mode in _GREY else "RGB"
    images = {part: HubImages(table, image, mode, f"{place.name}, {part}") for part, table in tables.items()}
    parts = {part: Part(images[part], _classes(place.name, part, tables[part][label])) for part in tables}
    held_out = [part for part in _TEST if part in parts]
    return Parts(
        parts["train"],
        parts[held_out[0]] if held_out else None,
        tuple(features[label].names),
        parts[held_out[1]] if len(held_out) > 1 else None,
        _look(images["train"], max(pillow.size)),
    )


def _tables(place: Place, name: str) -> dict[str, Any]:
    try:
        from datasets import Dataset, load_dataset, load_from_disk
    except ModuleNotFoundError as error:
        raise InputError(f"{place.name} needs a package: {how_to_install('datasets')}.") from error
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not folder.is_dir():
        raise InputError(f"There is no folder {folder}: name a data set of the Hugging Face Hub, or a folder of one.")
    saved = any((folder / file).exists() for file in ("state.json", "dataset_dict.json"))
    try:
        with nullcontext() if place.download else _offline():
            tables = load_from_disk(str(folder)) if saved else load_dataset(str(folder) if folder.is_dir() else name)
    # It raises errors of its own, of the Hub's client, of the network, of pyarrow, and plain ValueErrors.
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"{place.name} cannot be loaded ({told}). {_remedy(place, folder)}") from error
    return {"train": tables} if isinstance(tables, Dataset) else dict(tables)


def _remedy(place: Place, folder: Path) -> str:
    if folder.is_dir():
        return f"Put files of parquet or images, or a saved data set, into {folder}."
    if place.download:
        return f"Check its name and the network, or save it to a folder elsewhere and name that: {HUB}FOLDER."
    return (
        f"Fetch it with `altprop data download {place.name}` (data.download=true in a recipe), or name a folder that "
        f"it was saved to: {HUB}FOLDER."
    )


@contextmanager
def _offline() -> Iterator[None]:
    """Let the Hub's client use nothing but what it has in its cache."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _columns(name: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """The column of the images and that of the classes, by their types."""
    from datasets import ClassLabel
    from datasets import Image as ImageFeature

    images = [column for column, kind in features.items() if isinstance(kind, ImageFeature)]
    labels = [column for column, kind in features.items() if isinstance(kind, ClassLabel)]
    labels = next(([column] for column in _LABELS if column in labels), labels)
    if len(images) == 1 and len(labels) == 1:
        return images[0], labels[0]
    raise InputError(
        f"{name} needs one column of images and one of class labels, but has {len(images)} and {len(labels)} among "
        f"{', '.join(features)}: cast or rename its columns, and save it anew."
    )


def _first(table: Any, column: str, name: str) -> Image.Image:
    try:
        return cast("Image.Image", table[0][column])
    except Exception as error:
        raise InputError(f"{name}: its first image cannot be read ({error}): mend it, or take another.") from error


def _classes(name: str, part: str, column: Sequence[int]) -> Tensor:
    classes = torch.tensor([-1 if one is None else one for one in column])
    if len(classes) and int(classes.min()) < 0:
        number = int((classes < 0).nonzero()[0])
        raise InputError(f"{name}, {part}: image {number} has no label; remove such images, or that part.")
    return classes


def _look(images: HubImages, side: int) -> Look:
    small = side <= _SMALL
    look = Look(side if small else 224, photo=not small, shift=side // 8 if small else 0, mirrored=not small)
    if images.mode == "RGB":
        return look
    numbers = torch.linspace(0, len(images) - 1, min(len(images), _SAMPLE)).long().tolist()
    pixels = torch.cat([images.image(number).flatten() for number in numbers]).double() / 255
    return replace(look, mean=(float(pixels.mean()),), deviation=(float(pixels.std()) or 1.0,))
