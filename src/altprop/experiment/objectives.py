"""What a network is trained for: losses and rewards by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from altprop.experiment.data.dataset import Task
from altprop.experiment.errors import InputError, unknown
from altprop.rewards import REWARDS, SPIKE_REWARDS

LOSSES: dict[str, tuple[Task, ...]] = {
    "cross-entropy": ("classification",),
    "mse": ("classification", "regression", "reconstruction"),
}
"""The losses by name, with the tasks that each is for."""

_REGRESSION_REWARDS = {"regression"}
_ONE_HOT_REWARDS = {"binary-sigmoid"}

DEFAULT_OBJECTIVE: dict[Task, str] = {
    "classification": "cross-entropy",
    "regression": "mse",
    "reconstruction": "mse",
}


def check_objective_name(name: str) -> None:
    """Check that ``name`` is a loss or a reward.

    Raises:
        InputError: it is not.
    """
    if name not in LOSSES and name not in REWARDS and name not in SPIKE_REWARDS:
        raise unknown("objective", name, [*LOSSES, *REWARDS, *SPIKE_REWARDS])


def tasks_of(name: str) -> tuple[Task, ...]:
    """The tasks that an objective is for."""
    if name in LOSSES:
        return LOSSES[name]
    return ("regression", "reconstruction") if name in _REGRESSION_REWARDS else ("classification",)


def make_objective(name: str, task: Task, *, label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """Make the objective of a name, called as ``objective(output, target)``.

    Args:
        name: ``"cross-entropy"``, ``"mse"`` (for classes: the distance to their one-hot form) or one of
            :data:`altprop.rewards.REWARDS` (``"binary-sigmoid"`` for classes: of their one-hot form) or of
            :data:`altprop.rewards.SPIKE_REWARDS`, which judge spikes over time.
        task: the task of the data.
        label_smoothing: of the cross-entropy: the part of each target that all classes share.

    Raises:
        InputError: there is no such objective, it is for another task, or it has no labels to smooth.

    Example:
        >>> make_objective("correct-classification", "classification")
        CorrectClassification(reduction='mean', epsilon=1e-06)
    """
    check_objective_name(name)
    if task not in tasks_of(name):
        fitting = [other for other in [*LOSSES, *REWARDS] if task in tasks_of(other)]
        raise InputError(f"The objective {name!r} is not for {task}. For {task}: {', '.join(fitting)}.")
    if label_smoothing and name != "cross-entropy":
        raise InputError(f"Label smoothing is for the objective 'cross-entropy', not for {name!r}.")
    if name in _ONE_HOT_REWARDS:
        return _of_one_hot(REWARDS[name]())
    if name in REWARDS:
        return REWARDS[name]()
    if name in SPIKE_REWARDS:
        return SPIKE_REWARDS[name]()
    if name == "mse":
        return one_hot_mse if task == "classification" else nn.MSELoss()
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)


def _of_one_hot(objective: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: objective(output, F.one_hot(target, output.shape[1]))


def one_hot_mse(output: Tensor, target: Tensor) -> Tensor:
    """The squared error between outputs and the one-hot form of the classes, summed over classes."""
    return (output - F.one_hot(target, output.shape[1])).square().sum(1).mean()
