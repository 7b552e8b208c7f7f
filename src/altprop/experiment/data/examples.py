"""Examples that can be asked for by number, and the parts of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from altprop.experiment.data.dataset import Dataset, Task


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
class Reconstructed:
    """Examples whose targets are their inputs, as vectors.

    Attributes:
        examples: with targets of any kind, which go unused.
    """

    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """See :class:`Examples`; an augmented input is its own target too."""
        x, _ = self.examples.batch(indices, epoch)
        return x, x.flatten(1)


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

    def reconstruction(self) -> Splits:
        """The same inputs with themselves as targets: what an autoencoder is trained on."""
        return replace(
            self,
            task="reconstruction",
            outputs=math.prod(self.input_shape),
            classes=(),
            train=_reconstructed(self.train),
            validation=None if self.validation is None else _reconstructed(self.validation),
            test=_reconstructed(self.test),
        )


def _reconstructed(examples: Examples) -> Examples:
    if isinstance(examples, TensorExamples):
        return TensorExamples(examples.x, examples.x.flatten(1))
    return Reconstructed(examples)
