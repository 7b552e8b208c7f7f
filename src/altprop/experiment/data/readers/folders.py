"""Images in folders, one folder for each class: anyone's, ImageNet's, and those of sets that are published so."""

# ruff: noqa: PLC0415  (torchvision takes long to import, and only sets of image files need it)

from __future__ import annotations

from pathlib import Path

import torch

from altprop.experiment.data.files import Place
from altprop.experiment.data.images import FileImages
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.errors import InputError, unknown

_VALIDATION = ("val", "valid", "validation")


def read_folder(place: Place) -> Parts:
    """Anyone's images: ``train`` and ``test`` (``val``), each with a folder for each class; or the latter alone.

    With ``test`` and ``val``, the latter is for validation. Without both, the test data are left to be drawn.
    """
    root = place.root
    if not root.is_dir():
        raise InputError(f"There is no folder {root}: name one with a folder of images for each class, as folder:PATH.")
    named = [name for name in _VALIDATION if (root / name).is_dir()]
    if not (root / "train").is_dir():
        train, classes = read_classes(root)
        return Parts(train, None, classes)
    train, classes = read_classes(root / "train")
    validation = read_classes(root / named[0], classes)[0] if named else None
    if (root / "test").is_dir():
        return Parts(train, read_classes(root / "test", classes)[0], classes, validation)
    if validation is None:
        raise InputError(f"{root} has a folder train, but neither test nor val: add one, or name {root / 'train'}.")
    return Parts(train, validation, classes)


def read_imagenet(place: Place) -> Parts:
    """ImageNet: ``train`` and ``val``, each with a folder for each class; ``val`` is for testing."""
    place.need(place.root, {"train": None, "val": None}, None)
    train, classes = read_classes(place.root / "train")
    return Parts(train, read_classes(place.root / "val", classes)[0], classes)


def read_caltech(place: Place) -> Parts:
    """Caltech-256: ``caltech256/256_ObjectCategories``, with a folder for each of 257 classes (the last is clutter)."""
    from torchvision.datasets import Caltech256

    folder = place.folder("caltech256", "256_ObjectCategories")
    place.need(folder, {"256_ObjectCategories": None}, lambda root: Caltech256(str(root), download=True), "caltech256")
    train, classes = read_classes(folder / "256_ObjectCategories")
    return Parts(train, None, classes)


def read_eurosat(place: Place) -> Parts:
    """EuroSAT in colour: ``eurosat/2750``, with a folder for each of 10 classes."""
    from torchvision.datasets import EuroSAT

    folder = place.folder("eurosat", "2750")
    place.need(folder, {"2750": None}, lambda root: EuroSAT(root, download=True), "eurosat")
    train, classes = read_classes(folder / "2750")
    return Parts(train, None, classes)


def read_classes(folder: Path, known: tuple[str, ...] | None = None) -> tuple[Part, tuple[str, ...]]:
    """List the images of a folder with a folder for each class, sorted by name.

    Args:
        folder: it.
        known: the names of the classes, if they are given; the folder may lack some. Unset: those of its folders.

    Returns:
        The images, and the names of the classes.

    Raises:
        InputError: there is no folder, no image, a class without one, or one that is not known.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        found, _ = find_classes(str(folder))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} has no folders: sort its images into one for each class, named for the class."
        ) from error
    classes = tuple(name for name in found if not name.startswith(".")) if known is None else known
    strange = [name for name in found if name not in classes and not name.startswith(".")]
    if strange:
        told = unknown("class of the training images called", strange[0], classes)
        raise InputError(f"{folder / strange[0]}: {told} Rename or remove the folder.")
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        samples = make_dataset(str(folder), numbers, IMG_EXTENSIONS, allow_empty=known is not None)
    except FileNotFoundError as error:
        raise InputError(f"{folder}: {_empty(folder, classes, IMG_EXTENSIONS)}") from error
    if not samples:
        raise InputError(f"{folder} holds no images: no file in its folders ends in {', '.join(IMG_EXTENSIONS)}.")
    files, targets = zip(*samples, strict=True)
    return Part(FileImages(tuple(map(Path, files))), torch.tensor(targets)), classes


def _empty(folder: Path, classes: tuple[str, ...], endings: tuple[str, ...]) -> str:
    without = [name for name in classes if not any(f.suffix.lower() in endings for f in (folder / name).rglob("*"))]
    return (
        f"no images in {', '.join(without[:5])}{' and others' * (len(without) > 5)}. Add some that end in "
        f"{', '.join(endings)}, or remove the folder."
    )
