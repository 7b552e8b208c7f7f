"""Examples that can be asked for by number, and the parts of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from altprop.experiment.dataset import Dataset, Task


class Examples(Protocol):
    """Inputs and targets by number, always the same for the same arguments."""

    def __len__(self) -> int:
        """How many there are."""

    def batch(self, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets.

        Args:
            indices: which, int64 of shape (samples,).
            epoch: from 1; augmentation draws from the seed, this and the index alone. 0: without augmentation.

        Returns:
            Inputs, float32 of shape (samples, *input shape); targets as :class:`~altprop.experiment.Dataset` has them.
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

    def batch(self, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """See :class:`Examples`."""
        return self.x[indices], self.y[indices]


@dataclass(frozen=True)
class Splits:
    """A data set in its parts.

    Attributes:
        name: what it is called.
        task: as of a :class:`~altprop.experiment.Dataset`.
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
    def of(cls, data: Dataset) -> Splits:
        """The parts of a data set in memory, without validation data."""
        train, test = TensorExamples(data.x_train, data.y_train), TensorExamples(data.x_test, data.y_test)
        return cls(data.name, data.task, data.input_shape, data.outputs, (), train, None, test)
