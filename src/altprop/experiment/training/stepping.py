"""What one step of training does between the loss and the optimizer, with its checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from altprop import targets
from altprop._sharding import full_tensor

Objective = Callable[[Tensor, Tensor], Tensor]

_CLEARLY_BELOW = 0.99
"""Of the limit: up to there clipping multiplies by 1, and need not be done."""


class NotFiniteError(ArithmeticError):
    """Training has left the finite numbers.

    Attributes:
        where: what was not finite first.
        step: the number of the step, from 1.
    """

    def __init__(self, where: str, step: int) -> None:
        super().__init__(f"{where} is not finite at step {step}")
        self.where, self.step = where, step


def loss_of(
    model: nn.Module, objective: Objective, x: Tensor, y: Tensor, *, weight: float = 1.0, scale: float = 1.0
) -> Tensor:
    """The objective of a batch, or of a part of one.

    Args:
        model: with its rule attached.
        objective: called as ``objective(model(x), y)``; its mean over the samples is taken.
        x: inputs of shape (samples, ...).
        y: targets of shape (samples, ...).
        weight: of this part in the batch: it multiplies the loss, and what the targets teach.
        scale: what the loss will be multiplied by, and what the targets teach is now: that of float16's scaler.
    """
    with targets(y, scale=weight * scale):
        loss = objective(model(x), y)
    return loss if weight == 1.0 else loss * weight


def check_loss(loss: Tensor, model: nn.Module, x: Tensor, step: int) -> None:
    """Check that a loss is finite.

    Raises:
        NotFiniteError: it is not; the error names the first layer whose output is not.
    """
    if not math.isfinite(loss.item()):
        raise NotFiniteError(culprit(model, x), step)


def check_and_clip(parameters: Sequence[tuple[str, nn.Parameter]], limit: float, step: int) -> None:
    """Check that the updates in ``.grad`` are finite, and clip the norm of all of them together.

    Args:
        parameters: with their names, after ``backward()``.
        limit: what the norm is clipped to; 0: it is not.
        step: its number, for the error.

    Raises:
        NotFiniteError: an update, or the norm of all, is not finite.
    """
    updates = {name: p.grad for name, p in parameters if p.grad is not None}
    norm = full_tensor(get_total_norm(updates.values()))
    length = norm.item()
    if not math.isfinite(length):
        updates = {name: full_tensor(update) for name, update in updates.items()}
        broken = (f"the update of {name}" for name, update in updates.items() if not update.isfinite().all())
        largest = max(updates, key=lambda name: float(updates[name].abs().amax()))
        raise NotFiniteError(next(broken, f"the norm of the update, largest in {largest},"), step)
    if limit and length > _CLEARLY_BELOW * limit:
        clip_grads_with_norm_([p for _, p in parameters], limit, norm)


def culprit(model: nn.Module, x: Tensor) -> str:
    """Words for the first output of a layer that is not finite, or for the loss if all of them are finite."""
    finite: dict[str, bool] = {}

    def look(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        finite[name] = bool(output.isfinite().all())

    layers = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(partial(look, name)) for name, module in layers]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    broken = (f"the output of {name}" for name, full_tensor in finite.items() if not full_tensor)
    return next(broken, f"the loss of the output of {list(finite)[-1]}")
