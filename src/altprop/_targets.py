"""The targets of the current batch, for rules that learn from targets instead of the output's error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor

from altprop._preserve import pushed


class Targets(NamedTuple):
    """The targets of one ``with altprop.targets(...)`` block."""

    y: Tensor
    scale: float


class _Stack(threading.local):
    def __init__(self) -> None:
        self.entries: list[Targets] = []


_stack = _Stack()


@contextmanager
def targets(y: Tensor, *, scale: float = 1.0) -> Iterator[None]:
    """Give :class:`altprop.DRTP` and :class:`altprop.LocalLoss` the targets of the batch that runs within the block.

    Other rules do not look at them. The forward pass has to be within the block; ``backward()`` may follow after it.
    Blocks nest, and each thread has its own.

    Args:
        y: class indices, of shape (batch,) or with a class for each position, (batch, positions); or values to be
            reconstructed, floating point, of shape (batch, ...).
        scale: a factor on what the targets teach. Those rules never see the loss, so a factor that you put on it does
            not reach the hidden layers: in accumulating over k batches with ``loss / k``, pass 1/k here too.

    Example:
        >>> import altprop, torch
        >>> from torch.nn import functional as F
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> attachment = altprop.DRTP(seed=0).attach(model)
        >>> x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> with altprop.targets(y):
        ...     loss = F.cross_entropy(model(x), y)
        >>> loss.backward()
        >>> bool(model[0].weight.grad.any())
        True
    """
    with pushed(_stack.entries, Targets(y, scale)):
        yield


@contextmanager
def repeated_targets(times: int) -> Iterator[None]:
    """Repeat the targets in scope, if any, within the block: for a batch that is that many times longer."""
    if not _stack.entries:
        yield
        return
    found = _stack.entries[-1]
    with targets(found.y.repeat(times, *[1] * (found.y.dim() - 1)), scale=found.scale):
        yield


def needed_targets(rule: object) -> Targets:
    """The targets in scope.

    Raises:
        ValueError: there are none.
    """
    if not _stack.entries:
        raise ValueError(
            f"{rule!r} teaches the hidden layers from the targets, and none are in scope. Run the model within "
            f"`with altprop.targets(y):`, or under torch.no_grad() if it is not to learn."
        )
    return _stack.entries[-1]


def class_targets(rule: object) -> Targets:
    """The targets in scope, which must be class indices.

    Raises:
        ValueError: there are none, or they are something else.
    """
    found = needed_targets(rule)
    y = found.y
    if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex():
        given = f"float targets of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ValueError(
            f"{type(rule).__name__} needs class targets, got {given}. Use DFA for regression and reconstruction, or "
            f"pass class indices in altprop.targets(...): of class probabilities (one-hot rows, mixup), y.argmax(1)."
        )
    return found
