"""The figures of an epoch while it goes on: sums from which its loss and score follow, however it was interrupted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.experiment.data.dataset import Task

_HELD = 2**20


class Tally:
    """Sums over the samples that were trained on. Adding waits for no device.

    Args:
        task: says what the score is.
        outputs: of the network.
    """

    def __init__(self, task: Task, outputs: int) -> None:
        self._task, self._outputs = task, outputs
        self._samples, self._loss = 0, 0.0
        self._sums = [0.0] * (3 * outputs if task == "regression" else 1)
        self._losses: list[tuple[Tensor, int]] = []
        self._waiting: list[Tensor] = []
        self._said: list[tuple[Tensor, Tensor]] = []

    def add_outputs(self, output: Tensor, target: Tensor) -> None:
        """Count what the network said.

        Args:
            output: of shape (samples, outputs).
            target: as in :class:`~altprop.experiment.Dataset`.
        """
        if self._task != "classification":
            self._waiting.append(_sums(self._task, output, target))
            return
        # Counts are whole numbers, which may be taken of many batches at once.
        self._said.append((output, target))
        if len(self._said) * output.numel() > _HELD:
            self._count()

    def add_loss(self, loss: Tensor, samples: int) -> None:
        """Count the mean loss of so many samples."""
        self._losses.append((loss, samples))

    @property
    def totals(self) -> list[float]:
        """The sums so far, the loss first: those of several processes may be added up."""
        self._drain()
        return [self._loss, *self._sums]

    @property
    def state(self) -> dict[str, Any]:
        """All there is, to go on from."""
        return {"totals": self.totals, "samples": self._samples}

    def restore(self, totals: list[float], samples: int) -> None:
        """Go on from a :attr:`state`."""
        self._loss, *self._sums = totals
        self._samples = samples
        self._losses, self._waiting, self._said = [], [], []

    def figures(self) -> tuple[float, float]:
        """The mean loss, and the score."""
        self._drain()
        return self._loss / self._samples, _score(self._task, self._sums, self._samples, self._outputs)

    def _count(self) -> None:
        if self._said:
            outputs, targets = zip(*self._said, strict=True)
            self._waiting.append(_sums(self._task, torch.cat(outputs), torch.cat(targets)))
        self._said = []

    def _drain(self) -> None:
        self._count()
        # One after another in Python's floats, so that it does not matter where it was interrupted.
        for loss, samples in self._losses:
            self._loss += loss.item() * samples
            self._samples += samples
        for sums in self._waiting:
            self._sums = [one + other for one, other in zip(self._sums, sums.tolist(), strict=True)]
        self._losses, self._waiting = [], []


def _sums(task: Task, output: Tensor, target: Tensor) -> Tensor:
    if task == "classification":
        return (output.argmax(1) == target).sum().reshape(1)
    output, target = output.double(), target.double()
    error = (output - target).square()
    return (
        torch.cat([target.sum(0), target.square().sum(0), error.sum(0)]) if task == "regression" else error.sum()[None]
    )


def _score(task: Task, sums: list[float], samples: int, outputs: int) -> float:
    if task == "classification":
        return sums[0] / samples
    if task == "reconstruction":
        return sums[0] / (samples * outputs)
    of_target, of_square, of_error = (torch.tensor(sums, dtype=torch.float64).reshape(3, outputs)).unbind()
    spread = of_square - of_target.square() / samples
    return float((1 - of_error / spread).mean())
