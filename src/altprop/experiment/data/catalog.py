"""The data sets by name: what each is, where its files go, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from altprop.experiment.data.embedded import DATA
from altprop.experiment.data.examples import Task
from altprop.experiment.data.files import Place
from altprop.experiment.data.names import HUB, parse_data
from altprop.experiment.data.preparing import Look
from altprop.experiment.data.readers.cub import read_cub
from altprop.experiment.data.readers.folders import read_caltech, read_eurosat, read_folder, read_imagenet
from altprop.experiment.data.readers.food11 import read_food11
from altprop.experiment.data.readers.huggingface import read_huggingface
from altprop.experiment.data.readers.isic import read_isic
from altprop.experiment.data.readers.parts import Parts
from altprop.experiment.data.readers.tiny_imagenet import read_tiny_imagenet
from altprop.experiment.data.readers.torchvision_sets import (
    read_cifar_10,
    read_cifar_100,
    read_fashion_mnist,
    read_flowers,
    read_mnist,
    read_svhn,
)
from altprop.experiment.errors import unknown

_GREY = {"MNIST": ((0.1307,), (0.3081,)), "Fashion-MNIST": ((0.2860,), (0.3530,))}
_FOLDER = "train and test (or val), each with a folder for each class; or folders for the classes alone"


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is opened.

    Attributes:
        task: classification or regression.
        size: its samples and shapes, for the reader.
        summary: what it is, in a line.
        origin: where it is published, or which package brings it.
        files: what the root folder holds; empty if it comes with altprop or is kept elsewhere.
        downloads: whether altprop downloads it.
        read: reads its files; None if it comes with altprop.
        look: how its images are prepared; None if that depends on the files, or it is used as it comes.
    """

    task: Task
    size: str
    summary: str
    origin: str
    files: str = ""
    downloads: bool = False
    read: Callable[[Place], Parts] | None = None
    look: Look | None = None


def _images(
    size: str,
    summary: str,
    origin: str,
    files: str,
    read: Callable[[Place], Parts],
    look: Look,
    *,
    downloads: bool = False,
) -> DataSet:
    return DataSet("classification", size, summary, origin, files, downloads, read, look)


_PHOTOS = Look(224, photo=True)

DATA_SETS: dict[str, DataSet] = {
    **{name: DataSet(entry.task, entry.size, entry.summary, entry.origin) for name, entry in DATA.items()},
    "mnist": _images(
        "60,000 + 10,000 images, 1×28×28",
        "Handwritten digits, 10 classes.",
        "http://yann.lecun.com/exdb/mnist",
        "MNIST/raw/train-images-idx3-ubyte.gz and three more",
        read_mnist,
        Look(28, *_GREY["MNIST"], shift=2, mirrored=False),
        downloads=True,
    ),
    "fashion-mnist": _images(
        "60,000 + 10,000 images, 1×28×28",
        "Clothes, 10 classes.",
        "https://github.com/zalandoresearch/fashion-mnist, MIT licence",
        "FashionMNIST/raw/train-images-idx3-ubyte.gz and three more",
        read_fashion_mnist,
        Look(28, *_GREY["Fashion-MNIST"], shift=2),
        downloads=True,
    ),
    "cifar-10": _images(
        "50,000 + 10,000 images, 3×32×32",
        "Animals and vehicles, 10 classes.",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "cifar-10-batches-py/data_batch_1 and so on",
        read_cifar_10,
        Look(32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), shift=4),
        downloads=True,
    ),
    "cifar-100": _images(
        "50,000 + 10,000 images, 3×32×32",
        "As cifar-10, 100 classes.",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "cifar-100-python/train, test, meta",
        read_cifar_100,
        Look(32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), shift=4),
        downloads=True,
    ),
    "svhn": _images(
        "73,257 + 26,032 images, 3×32×32",
        "House numbers, 10 classes.",
        "http://ufldl.stanford.edu/housenumbers, for non-commercial use",
        "train_32x32.mat and test_32x32.mat",
        read_svhn,
        Look(32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), shift=4, mirrored=False),
        downloads=True,
    ),
    "eurosat": _images(
        "27,000 images, 3×64×64",
        "Satellite pictures of land, 10 classes.",
        "https://github.com/phelber/eurosat, MIT licence",
        "eurosat/2750, with a folder for each class",
        read_eurosat,
        Look(64, shift=4, turned=True),
        downloads=True,
    ),
    "caltech-256": _images(
        "30,607 photographs",
        "Objects, 257 classes, the last of which is clutter.",
        "https://data.caltech.edu/records/nyy15-4j048, CC BY 4.0",
        "caltech256/256_ObjectCategories, with a folder for each class",
        read_caltech,
        _PHOTOS,
        downloads=True,
    ),
    "flowers-102": _images(
        "1,020 + 6,149 photographs, and 1,020 for validation",
        "Flowers, 102 classes.",
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        "flowers-102/jpg, setid.mat, imagelabels.mat",
        read_flowers,
        _PHOTOS,
        downloads=True,
    ),
    "food-11": _images(
        "9,866 + 3,347 photographs, and 3,430 for validation",
        "Food, 11 classes.",
        "https://www.epfl.ch/labs/mmspg/downloads/food-image-datasets",
        "food-11/training/0_12.jpg and so on, validation, evaluation",
        read_food11,
        _PHOTOS,
    ),
    "tiny-imagenet": _images(
        "100,000 + 10,000 images, 3×64×64",
        "A part of ImageNet, 200 classes.",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip, for non-commercial research",
        "tiny-imagenet-200/train, val",
        read_tiny_imagenet,
        Look(64, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821), shift=8),
    ),
    "cub-200": _images(
        "5,994 + 5,794 photographs",
        "Birds, 200 classes.",
        "https://www.vision.caltech.edu/datasets/cub_200_2011",
        "CUB_200_2011/images, images.txt and three more tables",
        read_cub,
        _PHOTOS,
    ),
    "isic": _images(
        "25,331 photographs",
        "Skin lesions, 9 diagnoses.",
        "https://challenge.isic-archive.com/data/#2019, CC BY-NC 4.0",
        "ISIC_2019_Training_Input, ISIC_2019_Training_GroundTruth.csv",
        read_isic,
        _PHOTOS,
    ),
    "imagenet": _images(
        "1,281,167 + 50,000 photographs",
        "Objects, 1,000 classes.",
        "https://image-net.org, for non-commercial research",
        "train and val, each with a folder for each class",
        read_imagenet,
        _PHOTOS,
    ),
    "folder": _images("any", "Your own images.", "your own", _FOLDER, read_folder, _PHOTOS),
}
"""All data sets but those of the Hugging Face Hub, whose names begin with ``hf:``."""

HUGGING_FACE = DataSet(
    "classification",
    "any",
    "Images of the Hugging Face Hub, or saved in its format: hf:ylecun/mnist, hf:FOLDER.",
    "https://huggingface.co/datasets",
    downloads=True,
    read=read_huggingface,
)


def find_data_set(text: str) -> DataSet:
    """What is known of a data set.

    Args:
        text: a name of :data:`DATA_SETS`, or one that begins with ``hf:``; a folder may follow, as ``NAME:ROOT``.

    Raises:
        InputError: there is no such data set.

    Example:
        >>> find_data_set("cifar-10:/data").look.size
        32
    """
    name, _ = parse_data(text)
    if name.startswith(HUB):
        return HUGGING_FACE
    if name not in DATA_SETS:
        raise unknown("data set", name, [*DATA_SETS, f"{HUB}NAME"])
    return DATA_SETS[name]
