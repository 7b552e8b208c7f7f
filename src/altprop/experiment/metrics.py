"""How good the outputs of a network are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from altprop.experiment.data.examples import Task


@dataclass(frozen=True)
class Metric:
    """What is reported of a network.

    Attributes:
        name: what it is called.
        lower_is_better: whether 0 is perfect; otherwise 1 is.
    """

    name: str
    lower_is_better: bool = False

    def gain(self, score: float, other: float) -> float:
        """How much better ``score`` is than ``other``; negative if it is worse."""
        return other - score if self.lower_is_better else score - other


METRICS: dict[Task, Metric] = {
    "classification": Metric("accuracy"),
    "regression": Metric("R²"),
    "reconstruction": Metric("squared error", lower_is_better=True),
}
"""What is reported for each task."""


def score(task: Task, output: Tensor, target: Tensor) -> float:
    """The accuracy of class scores; R² of numbers, averaged over outputs; the mean squared error of reconstructions.

    Args:
        task: which of them.
        output: of shape (samples, outputs).
        target: as of :class:`~altprop.experiment.Splits`.

    Example:
        >>> import torch
        >>> score("classification", torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    if task == "classification":
        return float((output.argmax(1) == target).double().mean())
    output, target = output.double(), target.double()
    error = (output - target).square()
    if task == "reconstruction":
        return float(error.mean())
    return r2(error.sum(0), (target - target.mean(0)).square().sum(0))


def r2(error: Tensor, spread: Tensor) -> float:
    """R², the part of the targets' variance that is predicted, averaged over outputs.

    Args:
        error: the sum of squared errors of each output, of shape (outputs,).
        spread: the sum of squared deviations of its targets from their mean. Where it is 0, all targets being the same,
            R² is 1 if they are predicted without an error, and else 0.

    Example:
        >>> import torch
        >>> r2(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0]))
        0.875
    """
    constant = spread <= 0
    each = 1 - error / spread.masked_fill(constant, 1)
    return float(each.where(~constant, (error == 0).to(each.dtype)).mean())
