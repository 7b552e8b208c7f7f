"""Examples that can be asked for by number, the parts of a data set, and that they are fit to train on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from altprop.experiment.data.choose import choose
from altprop.experiment.errors import InputError

Task = Literal["classification", "regression", "reconstruction"]

Pair = tuple[Tensor, Tensor]
"""Inputs and targets."""

_TEST = 0.2
"""The share of the samples that is for testing, where one pair of tensors is given."""


class Examples(Protocol):
    """Inputs and targets by number, always the same for the same arguments."""

    def __len__(self) -> int:
        """How many there are."""

    @property
    def targets(self) -> Tensor:
        """The classes of all, int64 of shape (samples,); or anything of this length where there are none."""

    def batch(self, indices: Tensor, epoch: int) -> Pair:
        """Inputs and targets.

        Args:
            indices: which, int64 of shape (samples,).
            epoch: from 1; augmentation draws from the seed, this and the index alone. 0: without augmentation.

        Returns:
            Inputs, float32 of shape (samples, *input shape); targets as :class:`Splits` has them.
        """


@dataclass(frozen=True)
class TensorExamples:
    """Examples that are in memory.

    Attributes:
        x: inputs of shape (samples, ...).
        y: targets of shape (samples, ...).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @property
    def targets(self) -> Tensor:
        """The targets of all."""
        return self.y

    def batch(self, indices: Tensor, epoch: int) -> Pair:
        """See :class:`Examples`."""
        return self.x[indices], self.y[indices]


@dataclass(frozen=True)
class Reconstructed:
    """Examples whose targets are their inputs, as vectors.

    Attributes:
        examples: with targets of any kind, which go unused.
    """

    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def targets(self) -> Tensor:
        """Those that go unused."""
        return self.examples.targets

    def batch(self, indices: Tensor, epoch: int) -> Pair:
        """See :class:`Examples`; an augmented input is its own target too."""
        x, _ = self.examples.batch(indices, epoch)
        return x, x.flatten(1)


@dataclass(frozen=True)
class Chosen:
    """Some of the examples of a part.

    Attributes:
        examples: of which these are some.
        numbers: which of them, int64 of shape (samples,).
    """

    examples: Examples
    numbers: Tensor

    @classmethod
    def of(cls, examples: Examples, numbers: Tensor) -> Examples:
        """Some of the examples of a part; those in memory are copied."""
        if isinstance(examples, TensorExamples):
            return TensorExamples(examples.x[numbers], examples.y[numbers])
        return cls(examples, numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def targets(self) -> Tensor:
        """Their targets."""
        return self.examples.targets[self.numbers]

    def batch(self, indices: Tensor, epoch: int) -> Pair:
        """See :class:`Examples`."""
        return self.examples.batch(self.numbers[indices], epoch)


@dataclass(frozen=True)
class Splits:
    """A data set in its parts.

    Attributes:
        name: what it is called.
        task: ``"classification"``: a target is a class from 0, int64; ``"regression"``: a target is a vector of
            numbers, float32; ``"reconstruction"``: a target is the input itself, as a vector.
        input_shape: the shape of one input.
        outputs: the number of classes, or of numbers to predict.
        classes: the names of the classes; empty if they have none.
        train: what to train on.
        validation: held out from it; None if nothing was.
        test: what to test on.
    """

    name: str
    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    train: Examples
    validation: Examples | None
    test: Examples

    @classmethod
    def of_tensors(
        cls, name: str, train: Pair, test: Pair, *, task: Task | None = None, outputs: int | None = None
    ) -> Splits:
        """The parts of a data set in memory.

        Args:
            name: what it is called.
            train: inputs, float32 of shape (samples, *input shape); and targets, as the task has them.
            test: likewise.
            task: unset: classification for int64 targets of shape (samples,), else regression.
            outputs: the number of classes, or of numbers to predict. Unset: as the targets have it.

        Raises:
            InputError: the tensors do not fit each other or the task; the message names the one at fault.

        Example:
            >>> x, y = torch.randn(30, 4), torch.arange(30) % 3
            >>> splits = Splits.of_tensors("mine", (x[:20], y[:20]), (x[20:], y[20:]))
            >>> splits.task, splits.outputs, splits.input_shape
            ('classification', 3, (4,))
        """
        y = train[1]
        classes = y.dtype == torch.int64 and y.dim() == 1
        task = task or ("classification" if classes else "regression")
        if task not in get_args(Task):
            raise InputError(f"A task is one of {', '.join(get_args(Task))}, got {task!r}.")
        if outputs is None:
            outputs = 1 + max(int(y.max()), int(test[1].max())) if classes and len(y) else math.prod(y.shape[1:])
        for part, pair in (("train", train), ("test", test)):
            _check(name, part, pair, task, outputs)
        shape = tuple(train[0].shape[1:])
        if shape != tuple(test[0].shape[1:]):
            raise InputError(f"{name}: train and test inputs differ in shape, {shape} and {tuple(test[0].shape[1:])}.")
        return cls(name, task, shape, outputs, (), TensorExamples(*train), None, TensorExamples(*test))

    @property
    def inputs(self) -> int:
        """How many numbers one input holds."""
        return math.prod(self.input_shape)

    @property
    def is_image(self) -> bool:
        """Whether an input is an image: (channels, height, width)."""
        return len(self.input_shape) == 3

    @property
    def is_2d(self) -> bool:
        """Whether an input is a point in the plane, so that decision boundaries can be drawn."""
        return self.input_shape == (2,)

    def reconstruction(self) -> Splits:
        """The same inputs with themselves as targets: what an autoencoder is trained on."""
        return replace(
            self,
            task="reconstruction",
            outputs=self.inputs,
            classes=(),
            train=_reconstructed(self.train),
            validation=None if self.validation is None else _reconstructed(self.validation),
            test=_reconstructed(self.test),
        )


def as_splits(data: Any) -> Splits:
    """The parts of a data set that is given in Python.

    Args:
        data: :class:`Splits`; ``((x, y), (x_test, y_test))``; or ``(x, y)``, of which a fifth is held out for testing,
            always the same.

    Raises:
        InputError: it is none of these, or the tensors do not fit each other.

    Example:
        >>> splits = as_splits((torch.randn(50, 4), torch.arange(50) % 2))
        >>> len(splits.train), len(splits.test)
        (40, 10)
    """
    if isinstance(data, Splits):
        return data
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(f"Give data as Splits, as (x, y) or as ((x, y), (x_test, y_test)); got {type(data).__name__}.")
    if not all(isinstance(part, Tensor) for part in data):
        train, test = data
        return Splits.of_tensors("data", tuple(train), tuple(test))
    x, y = data
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} samples and y has {len(y)}.")
    test, train = choose(y, _TEST, 0, "test")
    return Splits.of_tensors("data", (x[train], y[train]), (x[test], y[test]))


def whole(examples: Examples, limit: int | None = None) -> Pair:
    """The inputs and targets of a part, without augmentation.

    Args:
        examples: of the part.
        limit: how many to take, from the first. Unset: all.
    """
    count = len(examples) if limit is None else min(limit, len(examples))
    return examples.batch(torch.arange(count), 0)


def _reconstructed(examples: Examples) -> Examples:
    if isinstance(examples, TensorExamples):
        return TensorExamples(examples.x, examples.x.flatten(1))
    return Reconstructed(examples)


def _check(name: str, part: str, pair: Pair, task: Task, outputs: int) -> None:
    x, y = pair
    if x.dtype != torch.float32 or x.dim() < 2:
        raise InputError(f"{name}: x_{part} must be float32 of shape (samples, ...), got {_describe(x)}.")
    if len(x) == 0:
        raise InputError(f"{name}: x_{part} holds no samples.")
    if len(x) != len(y):
        raise InputError(f"{name}: x_{part} has {len(x)} samples and y_{part} has {len(y)}.")
    if not x.isfinite().all():
        raise InputError(f"{name}: x_{part} holds values that are NaN or infinite.")
    if task == "classification":
        _check_classes(f"{name}: ", part, y, outputs)
    else:
        _check_numbers(f"{name}: ", part, y, task, outputs)


def _check_classes(where: str, part: str, y: Tensor, outputs: int) -> None:
    if y.dtype != torch.int64 or y.dim() != 1:
        raise InputError(f"{where}for classification y_{part} must be int64 of shape (samples,), got {_describe(y)}.")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= outputs:
        raise InputError(
            f"{where}y_{part} holds classes from {low} to {high}, but {outputs} outputs stand for the classes 0 to "
            f"{outputs - 1}."
        )


def _check_numbers(where: str, part: str, y: Tensor, task: Task, outputs: int) -> None:
    if y.dtype != torch.float32 or y.shape[1:] != (outputs,):
        raise InputError(
            f"{where}for {task} y_{part} must be float32 of shape (samples, {outputs}), got {_describe(y)}."
        )
    if not y.isfinite().all():
        raise InputError(f"{where}y_{part} holds values that are NaN or infinite.")
    if part == "test" and len(y) < 2 and task == "regression":
        raise InputError(f"{where}R² needs two test samples or more, y_test has {len(y)}.")


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
