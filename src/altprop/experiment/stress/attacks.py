"""Inputs changed so that a network fails, by captum's attacks."""

# ruff: noqa: PLC0415  (captum is an extra of its own, which only attacks need)

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from altprop._extras import how_to_install
from altprop.experiment.errors import InputError


@dataclass(frozen=True)
class Ball:
    """How far an input may be moved.

    Attributes:
        radius: the most that any entry may change by.
        low: the lowest value that an entry may have.
        high: the highest.
    """

    radius: float
    low: float = float("-inf")
    high: float = float("inf")


def log_odds_against(output: Tensor, target: Tensor) -> Tensor:
    """What attacks climb: minus the log-odds of the true class, log((1 − p) / p) with p = softmax(output)[target].

    It rises with the cross-entropy, and its gradient is that of the cross-entropy divided by 1 − p. Both attacks look
    at the gradient's signs alone, so that nothing changes, but for this: where a network is sure of itself, 1 − p
    and the cross-entropy's gradient are rounded to zero, and the network would seem to withstand any attack.

    Args:
        output: of shape (batch, classes).
        target: classes, of shape (batch,).

    Returns:
        Of shape (batch,).

    Example:
        >>> log_odds_against(torch.tensor([[0.0, 200.0, 100.0]]), torch.tensor([1]))
        tensor([-100.])
    """
    others = torch.ones_like(output, dtype=torch.bool).scatter(1, target[:, None], False)
    return output.masked_fill(~others, -torch.inf).logsumexp(1) - output.gather(1, target[:, None])[:, 0]


def fgsm(model: nn.Module, x: Tensor, y: Tensor, ball: Ball, steps: int) -> Tensor:
    """The fast gradient sign method: one step to the edge (Goodfellow et al., ICLR 2015)."""
    from captum.robust import FGSM

    attack = FGSM(model, log_odds_against, ball.low, ball.high)
    attack.zero_thresh = 0.0  # captum leaves an entry alone if its gradient is below 1e-6
    changed: Tensor = attack.perturb(x, epsilon=ball.radius, target=y)
    return changed


def pgd(model: nn.Module, x: Tensor, y: Tensor, ball: Ball, steps: int) -> Tensor:
    """Projected gradient descent: steps of 2.5 radii in all, each back into the ball (Madry et al., ICLR 2018)."""
    from captum.robust import PGD

    attack = PGD(model, log_odds_against, ball.low, ball.high)
    attack.fgsm.zero_thresh = 0.0
    changed: Tensor = attack.perturb(
        x, radius=ball.radius, step_size=2.5 * ball.radius / steps, step_num=steps, target=y
    )
    return changed


ATTACKS: dict[str, Callable[[nn.Module, Tensor, Tensor, Ball, int], Tensor]] = {"fgsm": fgsm, "pgd": pgd}
"""The attacks by name."""


def attacked(attack: str, model: nn.Module, x: Tensor, y: Tensor, ball: Ball, *, steps: int = 20) -> Tensor:
    """Change inputs so that a network gets their classes wrong.

    Args:
        attack: one of :data:`ATTACKS`.
        model: any network that gives class scores, in evaluation mode, with no rule attached.
        x: inputs of shape (batch, ...); they stay as they are.
        y: their classes.
        ball: how far they may be moved.
        steps: of pgd.

    Raises:
        InputError: the network has no gradient, or captum is not installed.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        >>> attacked("fgsm", model, torch.tensor([[0.3, 0.1]]), torch.tensor([0]), Ball(0.25))
        tensor([[0.0500, 0.3500]])
    """
    if find_spec("captum") is None:
        raise InputError(f"Attacks need captum, which is not installed. Install it with: {how_to_install('explain')}")
    if not ball.radius:
        return x.clone()
    gradients = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(False)  # the inputs' gradients are wanted alone
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients")
            return ATTACKS[attack](model, x.detach().clone(), y, ball, steps).detach()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"The network's outputs have no gradient by its inputs: {reason}") from error
    finally:
        for parameter, wanted in zip(model.parameters(), gradients, strict=True):
            parameter.requires_grad_(wanted)
