"""The inputs to be explained: from image files, or from a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.data.memory import load_data
from altprop.experiment.data.names import parse_data
from altprop.experiment.errors import InputError
from altprop.experiment.explaining.network import Network


@dataclass(frozen=True)
class Samples:
    """Inputs to be explained.

    Attributes:
        inputs: as the network takes them, of shape (inputs, ...).
        names: of each.
        true: the class of each, as far as it is known.
        origin: the name of the file, folder or data set that they are from.
        source: where they are from, in words.
    """

    inputs: Tensor
    names: tuple[str, ...]
    true: tuple[str | None, ...]
    origin: str
    source: str


def image_samples(path: Path, network: Network) -> Samples:
    """Read an image file, or all images of a folder, as the network takes them.

    Args:
        path: the file or folder. In a folder: the files, not in its own folders, that are named as images.
        network: what they are for.

    Raises:
        InputError: there is none, one cannot be read, or the network takes no images.
    """
    files = _image_files(path)
    inputs = torch.stack([network.prepare(_read(file)) for file in files])
    source = f"{len(files)} images of {path}" if path.is_dir() else str(path)
    return Samples(inputs, tuple(file.name for file in files), (None,) * len(files), path.resolve().stem, source)


def data_samples(name: str | None, index: tuple[int, ...], network: Network) -> Samples:
    """Take samples of a data set's test part.

    Args:
        name: of the data set; unset: the one that the network was trained on.
        index: which of them.
        network: what they are for.

    Raises:
        InputError: it is not known which data set, an index is out of range, or the samples do not fit the network.
    """
    theirs = network.data
    data = load_data(name) if name and not (theirs and theirs.name == parse_data(name)[0]) else theirs
    if data is None:
        raise InputError("Name what to explain: an image file, a folder of images, or a data set with --data.")
    _check_fit(data, network)
    count = len(data.x_test)
    outside = [one for one in index if not 0 <= one < count]
    if outside:
        raise InputError(f"The index {outside[0]} is out of range: {data.name} has test samples from 0 to {count - 1}.")
    chosen = list(index)
    classes = data.y_test[chosen].tolist() if data.task == "classification" else [None] * len(chosen)
    true = tuple(None if one is None else str(one) for one in classes)
    names = tuple(f"{data.name} {one}" for one in chosen)
    source = f"test samples of {data.name}: {', '.join(map(str, chosen))}"
    return Samples(data.x_test[chosen], names, true, data.name, source)


def _check_fit(data: Dataset, network: Network) -> None:
    if network.data is None:
        raise InputError(
            f"{network.summary} takes photographs: give an image file or a folder of them. The data sets are for "
            f"networks that `altprop train` trained."
        )
    if data.input_shape != network.data.input_shape:
        ours, theirs = ("×".join(map(str, shape)) for shape in (data.input_shape, network.data.input_shape))
        raise InputError(f"The network takes inputs of shape {theirs}, but those of {data.name} have the shape {ours}.")


def _image_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"There is no image file or folder {path}.")
    endings = Image.registered_extensions()
    there = sorted(file for file in path.iterdir() if file.suffix.lower() in endings and file.is_file())
    files = [file for file in there if not file.name.startswith(".")]
    if not files:
        raise InputError(f"The folder {path} holds no images: no file in it ends in .png, .jpg or the like.")
    return files


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    # What is no image makes pillow raise all sorts of errors: Unidentified, Syntax, Value, EOF, DecompressionBomb.
    except Exception as error:
        raise InputError(f"{file} cannot be read as an image: {error}") from error
