"""What a data set is, and that it is fit to train on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from altprop.experiment.errors import InputError

Task = Literal["classification", "regression", "reconstruction"]

_VALIDATION_SEED = 20_000


@dataclass(frozen=True)
class Dataset:
    """Inputs and targets, for training and for testing.

    Attributes:
        name: what it is called.
        task: ``"classification"``: a target is a class; ``"regression"``: a target is a vector of numbers;
            ``"reconstruction"``: a target is the input itself, as a vector (see :meth:`reconstruction`).
        x_train: inputs, float32, of shape (samples, *input shape).
        y_train: classes from 0, int64, of shape (samples,); or numbers, float32, of shape (samples, outputs).
        x_test: as ``x_train``.
        y_test: as ``y_train``.
        outputs: the number of classes, or of numbers to predict.

    Raises:
        InputError: the tensors do not fit each other or the task; the message names the one at fault.
    """

    name: str
    task: Task
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    outputs: int

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise InputError(f"A task is one of {', '.join(get_args(Task))}, got {self.task!r}.")
        for part in ("train", "test"):
            _check_inputs(self, part)
            check = _check_classes if self.task == "classification" else _check_numbers
            check(self, part)
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise InputError(
                f"{self.name}: train and test inputs differ in shape, {tuple(self.x_train.shape[1:])} and "
                f"{tuple(self.x_test.shape[1:])}."
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.x_train.shape[1:])

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

    def to(self, device: torch.device | str) -> Dataset:
        """This data set on another device."""
        tensors = {part: getattr(self, part).to(device) for part in ("x_train", "y_train", "x_test", "y_test")}
        return replace(self, **tensors)

    def reconstruction(self) -> Dataset:
        """These inputs with themselves as targets: what an autoencoder is trained on."""
        y_train, y_test = self.x_train.flatten(1), self.x_test.flatten(1)
        return replace(self, task="reconstruction", outputs=self.inputs, y_train=y_train, y_test=y_test)

    def hold_out(self, fraction: float = 0.2) -> Dataset:
        """Put a part of the training data in the place of the test data, always the same part.

        Args:
            fraction: how much of it to hold out, for choosing a learning rate without a look at the test data.
        """
        order = torch.randperm(len(self.x_train), generator=torch.Generator().manual_seed(_VALIDATION_SEED))
        held_out = max(1, round(fraction * len(order)))
        if held_out >= len(order):
            raise InputError(f"{self.name}: {len(order)} training samples are too few to hold some out for validation.")
        test, train = order[:held_out].to(self.x_train.device), order[held_out:].to(self.x_train.device)
        return replace(
            self,
            x_train=self.x_train[train],
            y_train=self.y_train[train],
            x_test=self.x_train[test],
            y_test=self.y_train[test],
        )


def _check_inputs(data: Dataset, part: str) -> None:
    x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
    if x.dtype != torch.float32 or x.dim() < 2:
        raise InputError(f"{data.name}: x_{part} must be float32 of shape (samples, ...), got {_describe(x)}.")
    if len(x) == 0:
        raise InputError(f"{data.name}: x_{part} holds no samples.")
    if len(x) != len(y):
        raise InputError(f"{data.name}: x_{part} has {len(x)} samples and y_{part} has {len(y)}.")
    if not x.isfinite().all():
        raise InputError(f"{data.name}: x_{part} holds values that are NaN or infinite.")


def _check_classes(data: Dataset, part: str) -> None:
    y = getattr(data, f"y_{part}")
    if y.dtype != torch.int64 or y.dim() != 1:
        raise InputError(
            f"{data.name}: for classification y_{part} must be int64 of shape (samples,), got {_describe(y)}."
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= data.outputs:
        raise InputError(
            f"{data.name}: y_{part} holds classes from {low} to {high}, but {data.outputs} outputs stand for the "
            f"classes 0 to {data.outputs - 1}."
        )


def _check_numbers(data: Dataset, part: str) -> None:
    y = getattr(data, f"y_{part}")
    if y.dtype != torch.float32 or y.shape[1:] != (data.outputs,):
        raise InputError(
            f"{data.name}: for {data.task} y_{part} must be float32 of shape (samples, {data.outputs}), "
            f"got {_describe(y)}."
        )
    if not y.isfinite().all():
        raise InputError(f"{data.name}: y_{part} holds values that are NaN or infinite.")
    if part == "test" and len(y) < 2 and data.task == "regression":
        raise InputError(f"{data.name}: R² needs two test samples or more, y_test has {len(y)}.")


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
