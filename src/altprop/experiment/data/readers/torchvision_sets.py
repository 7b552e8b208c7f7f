"""The data sets that torchvision knows: it downloads them, checks them and reads their formats.

CIFAR is published as pickles and no otherwise. Torchvision unpickles them only if their MD5 checksums are those of the
published files; nothing else is unpickled.
"""

# ruff: noqa: PLC0415  (torchvision takes long to import, and only sets of image files need it)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from altprop.experiment.data.files import Place
from altprop.experiment.data.images import FileImages, PixelImages
from altprop.experiment.data.readers.parts import Part, Parts
from altprop.experiment.errors import InputError


def read_mnist(place: Place) -> Parts:
    """MNIST, unpacked or packed: ``MNIST/raw/train-images-idx3-ubyte.gz`` and three more."""
    return _read_idx(place, "MNIST")


def read_fashion_mnist(place: Place) -> Parts:
    """Fashion-MNIST, as MNIST in ``FashionMNIST/raw``."""
    return _read_idx(place, "FashionMNIST")


def _read_idx(place: Place, kind: str) -> Parts:
    from torchvision import datasets

    published = getattr(datasets, kind)
    usual = f"{kind}/raw"
    folder = place.root
    if not any(list(folder.glob(f"train-images-idx3-ubyte{ending}")) for ending in ("", ".gz")):
        folder = place.folder(kind) / "raw"
    # Torchvision checks the archives alone, so that an unpacked file has no checksum.
    files = {name: md5 for name, md5 in published.resources if not (folder / name.removesuffix(".gz")).exists()}
    place.need(folder, files, lambda root: published(root, download=True), usual)
    train, test = (_idx_part(folder, part) for part in ("train", "t10k"))
    return Parts(train, test, tuple(published.classes))


def _idx_part(folder: Path, part: str) -> Part:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    pixels = _idx(folder / f"{part}-images-idx3-ubyte", read_image_file)
    classes = _idx(folder / f"{part}-labels-idx1-ubyte", read_label_file)
    if len(pixels) != len(classes) or (len(classes) and int(classes.max()) > 9):
        raise InputError(
            f"{folder}: {part} has {len(pixels)} images and {len(classes)} labels, which should be as many and from "
            f"0 to 9: put the published files there again."
        )
    return Part(PixelImages(pixels.unsqueeze(1)), classes)


def _idx(file: Path, read: Callable[[str], Tensor]) -> Tensor:
    from torchvision.datasets.utils import extract_archive

    packed = file.with_name(f"{file.name}.gz")
    try:
        if file.exists():
            return read(str(file))
        with TemporaryDirectory() as scratch:
            return read(str(extract_archive(str(packed), scratch)))
    # A file that ends too early, or begins wrongly, shows as an assertion, or as any error of struct, torch or gzip.
    except Exception as error:
        broken = file if file.exists() else packed
        raise InputError(
            f"{broken} cannot be read as an IDX file: delete it, and put the published one there."
        ) from error


def read_cifar_10(place: Place) -> Parts:
    """CIFAR-10: ``cifar-10-batches-py``, with ``data_batch_1`` and so on."""
    from torchvision.datasets import CIFAR10

    return _read_cifar(place, CIFAR10)


def read_cifar_100(place: Place) -> Parts:
    """CIFAR-100: ``cifar-100-python``, with ``train``, ``test`` and ``meta``; its fine classes."""
    from torchvision.datasets import CIFAR100

    return _read_cifar(place, CIFAR100)


def _read_cifar(place: Place, published: Any) -> Parts:
    folder = place.folder(published.base_folder)
    files = dict(published.train_list + published.test_list) | {published.meta["filename"]: published.meta["md5"]}
    place.need(folder, files, lambda root: published(root, download=True), published.base_folder)
    train, test = (published(folder.parent, train=train) for train in (True, False))
    parts = [_pixels(one.data.transpose(0, 3, 1, 2), one.targets) for one in (train, test)]
    return Parts(parts[0], parts[1], tuple(train.classes))


def read_svhn(place: Place) -> Parts:
    """SVHN's cropped digits: ``train_32x32.mat`` and ``test_32x32.mat``, without the extra images."""
    from torchvision.datasets import SVHN

    files = dict(SVHN.split_list[part][1:] for part in ("train", "test"))
    place.need(place.root, files, lambda root: [SVHN(root, split=part, download=True) for part in ("train", "test")])
    train, test = (SVHN(place.root, split=part) for part in ("train", "test"))
    return Parts(_pixels(train.data, train.labels), _pixels(test.data, test.labels), tuple(map(str, range(10))))


def _pixels(pixels: np.ndarray, classes: Any) -> Part:
    return Part(PixelImages(torch.from_numpy(np.ascontiguousarray(pixels))), torch.as_tensor(classes).long())


def read_flowers(place: Place) -> Parts:
    """Oxford Flowers-102: ``flowers-102``, with ``jpg``, ``setid.mat`` and ``imagelabels.mat``."""
    from torchvision.datasets import Flowers102

    folder = place.folder("flowers-102")
    tables = dict(Flowers102._file_dict[key] for key in ("label", "setid"))
    place.need(folder, {"jpg": None, **tables}, lambda root: Flowers102(root, download=True), "flowers-102")
    train, validation, test = (
        _listed(Flowers102(folder.parent, split=part, loader=Path)) for part in ("train", "val", "test")
    )
    return Parts(train, test, tuple(Flowers102.classes), validation)


def _listed(examples: Any) -> Part:
    files, classes = zip(*examples, strict=True)
    return Part(FileImages(files), torch.tensor(classes))
