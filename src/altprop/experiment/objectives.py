"""What a network is trained for: losses and rewards by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.experiment.data.examples import Task
from altprop.experiment.errors import InputError, unknown
from altprop.rewards import REWARDS, SPIKE_REWARDS, BoundedSoftmax

LOSSES: dict[str, tuple[Task, ...]] = {
    "cross-entropy": ("classification",),
    "mse": ("classification", "regression", "reconstruction"),
    "bce": ("classification",),
}
"""The losses by name, with the tasks that each is for."""

_REGRESSION_REWARDS = {"regression"}
_ONE_HOT_REWARDS = {"binary-sigmoid"}
_BOUNDED = "bounded-softmax"

_TAKES = {"cross-entropy": "softmax", "softmax": "softmax", _BOUNDED: "softmax"} | dict.fromkeys(
    ("sigmoid", "binary-sigmoid"), "sigmoid"
)
"""The objectives that take an activation of the outputs themselves."""

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


def check_output(name: str, output: str) -> None:
    """Check that an objective fits the activation of a network's outputs.

    Raises:
        InputError: it takes that activation itself, or cannot judge what it gives.
    """
    if _TAKES.get(name) == output:
        raise InputError(
            f"the objective {name!r} takes the {output} itself, and the outputs are a {output} already: set "
            f"model.output to none, or take the objective mse or bce."
        )
    if name == "bce" and output == "tanh":
        raise InputError("the objective 'bce' judges probabilities, and a tanh gives none: take model.output: sigmoid.")


def check_settings(name: str, *, label_smoothing: float, lower: float, upper: float, sign_only: bool) -> None:
    """Check that an objective has the settings that are given.

    Raises:
        InputError: it has not, or they do not fit each other.
    """
    if label_smoothing and name != "cross-entropy":
        raise InputError(f"Label smoothing is for the objective 'cross-entropy', not for {name!r}.")
    if (lower or upper < 1 or sign_only) and name != _BOUNDED:
        raise InputError(f"lower, upper and sign_only are of the objective {_BOUNDED!r}, not of {name!r}.")
    if lower > upper:
        raise InputError(f"the lower bound, {lower:g}, is above the upper one, {upper:g}.")


def make_objective(
    name: str,
    task: Task,
    *,
    label_smoothing: float = 0.0,
    lower: float = 0.0,
    upper: float = 1.0,
    sign_only: bool = False,
    output: str = "none",
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make the objective of a name, called as ``objective(output, target)``.

    Args:
        name: ``"cross-entropy"``, ``"mse"`` (for classes: the distance to their one-hot form), ``"bce"`` or one of
            :data:`altprop.rewards.REWARDS` (``"binary-sigmoid"`` for classes: of their one-hot form) or of
            :data:`altprop.rewards.SPIKE_REWARDS`, which judge spikes over time.
        task: the task of the data.
        label_smoothing: of the cross-entropy: the part of each target that all classes share.
        lower: of ``"bounded-softmax"``, as are the next two; see :class:`altprop.rewards.BoundedSoftmax`.
        upper: likewise.
        sign_only: likewise.
        output: the activation that the outputs have been through: ``"bce"`` takes logits or probabilities.

    Raises:
        InputError: there is no such objective, it is for another task, or does not fit the other arguments.

    Example:
        >>> make_objective("correct-classification", "classification")
        CorrectClassification(reduction='mean', epsilon=1e-06)
    """
    check_objective_name(name)
    if task not in tasks_of(name):
        fitting = [other for other in [*LOSSES, *REWARDS] if task in tasks_of(other)]
        raise InputError(f"The objective {name!r} is not for {task}. For {task}: {', '.join(fitting)}.")
    check_settings(name, label_smoothing=label_smoothing, lower=lower, upper=upper, sign_only=sign_only)
    check_output(name, output)
    if name == _BOUNDED:
        return BoundedSoftmax(lower, upper, sign_only)
    if name in _ONE_HOT_REWARDS:
        return _of_one_hot(REWARDS[name]())
    if name not in LOSSES:
        return (REWARDS | SPIKE_REWARDS)[name]()
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "cross-entropy": nn.CrossEntropyLoss(label_smoothing=label_smoothing),
        "mse": one_hot_mse if task == "classification" else nn.MSELoss(),
        "bce": one_hot_bce_with_logits if output == "none" else one_hot_bce,
    }
    return losses[name]


def _of_one_hot(objective: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: objective(output, F.one_hot(target, output.shape[1]))


def one_hot_mse(output: Tensor, target: Tensor) -> Tensor:
    """The squared error between outputs and the one-hot form of the classes, summed over classes."""
    return (output - F.one_hot(target, output.shape[1])).square().sum(1).mean()


def one_hot_bce(output: Tensor, target: Tensor) -> Tensor:
    """The binary cross-entropy of probabilities and the one-hot form of the classes, the mean over both."""
    with torch.autocast(output.device.type, enabled=False):  # which has it refused
        p = output.to(torch.promote_types(output.dtype, torch.float32))
        return F.binary_cross_entropy(p, F.one_hot(target, output.shape[1]).to(p))


def one_hot_bce_with_logits(output: Tensor, target: Tensor) -> Tensor:
    """As :func:`one_hot_bce`, of the sigmoid of the outputs."""
    return F.binary_cross_entropy_with_logits(output, F.one_hot(target, output.shape[1]).to(output))
