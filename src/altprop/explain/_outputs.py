"""Evaluate the explained output at other inputs than the explained one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altprop.explain.targets import output_of, relevance_at


def target_rows(target: Any, rows: slice, batch: int) -> Any:
    """The target of some of a batch's examples.

    Args:
        target: a target of the whole batch, as for :meth:`altprop.LRP.attribute`.
        rows: which examples.
        batch: how many examples the whole batch has.

    Raises:
        ValueError: there are more or fewer targets than examples.
    """
    if isinstance(target, list) or (isinstance(target, Tensor) and target.dim() > 0):
        if len(target) == 1:
            return target  # one for all
        if len(target) != batch:
            raise ValueError(f"There must be a target for each of the {batch} examples, got {len(target)}.")
        return target[rows]
    return target


def resolve_target(result: Any, target: Any) -> Any:
    """The target, with None replaced by the arg max, so that it stays the same when the input changes.

    Args:
        result: what the model returned for the input as it is.
        target: as for :meth:`altprop.LRP.attribute`.

    Returns:
        The target itself, a tensor of class indices (batch,), or a list of tuples.
    """
    output = output_of(result)
    if target is not None or output.dim() == 1:
        return target
    winners = output.flatten(1).argmax(1)
    if output.dim() == 2:
        return winners
    places = torch.unravel_index(winners, output.shape[1:])
    return [tuple(place) for place in torch.stack(places, dim=1).tolist()]


def picked(result: Any, target: Any) -> Tensor:
    """The output that the target selects, of shape (batch,); for a float target, the outputs weighted by it.

    Args:
        result: what the model returned.
        target: as :func:`resolve_target` returns it.

    Raises:
        ValueError: the target does not fit the output.
    """
    output = output_of(result)
    weights = relevance_at(output, target, "one")
    # An output masked by -inf has no weight: avoid 0 · inf.
    return torch.where(weights == 0, 0, output * weights).reshape(len(output), -1).sum(1)
