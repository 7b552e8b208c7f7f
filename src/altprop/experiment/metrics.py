"""How good the outputs of a network are."""

# ruff: noqa: PLC0415  (torchmetrics takes seconds to import, and only training needs it)

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from altprop.experiment.data.dataset import Task


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
        target: as in :class:`~altprop.experiment.Dataset`.

    Example:
        >>> import torch
        >>> score("classification", torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    from torchmetrics.functional import mean_squared_error, r2_score
    from torchmetrics.functional.classification import multiclass_accuracy

    if task == "regression":
        return float(r2_score(output, target))
    if task == "reconstruction":
        return float(mean_squared_error(output, target))
    return float(multiclass_accuracy(output, target, num_classes=output.shape[1], average="micro"))
