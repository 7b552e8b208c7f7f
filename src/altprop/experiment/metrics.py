"""How good the outputs of a network are."""

# ruff: noqa: PLC0415  (torchmetrics takes seconds to import, and only training needs it)

from __future__ import annotations

from torch import Tensor

from altprop.experiment.dataset import Task

METRICS: dict[Task, str] = {"classification": "accuracy", "regression": "R²"}
"""What is reported for each task; in both cases 1 is perfect."""


def score(task: Task, output: Tensor, target: Tensor) -> float:
    """The accuracy of class scores; R² of numbers, averaged over outputs.

    Args:
        task: which of the two.
        output: of shape (samples, outputs).
        target: as in :class:`~altprop.experiment.Dataset`.

    Example:
        >>> import torch
        >>> score("classification", torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    from torchmetrics.functional import r2_score
    from torchmetrics.functional.classification import multiclass_accuracy

    if task == "regression":
        return float(r2_score(output, target))
    return float(multiclass_accuracy(output, target, num_classes=output.shape[1], average="micro"))
