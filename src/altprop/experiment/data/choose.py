"""Which examples: a part of them, drawn by a seed, in the same proportions of classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from altprop.experiment.errors import InputError

# Each draw has a stream of its own: a fraction and a validation split of one seed know nothing of each other.
_STREAMS = {"fraction": 0, "validation": 1, "test": 2}


def choose(
    targets: Tensor, share: float, seed: int, draw: Literal["fraction", "validation", "test"]
) -> tuple[Tensor, Tensor]:
    """Draw a share of the examples, the same one for the same arguments.

    Args:
        targets: classes, int64 of shape (samples,): the share is drawn from each of them, to within one example; or
            numbers: it is drawn from all together.
        share: of the examples to draw, from 0 to 1.
        seed: of the draw.
        draw: what for; the purposes draw independently.

    Returns:
        The numbers of those that were drawn, and of the rest, in ascending order.

    Raises:
        InputError: one of the two would be empty.

    Example:
        >>> chosen, rest = choose(torch.tensor([0, 0, 1, 1]), 0.5, seed=0, draw="fraction")
        >>> len(chosen), len(rest)
        (2, 2)
    """
    count = round(share * len(targets))
    if not 0 < count < len(targets):
        raise InputError(f"A share of {share:g} of {len(targets)} examples leaves one of two parts empty: change it.")
    entropy = np.random.SeedSequence([seed, _STREAMS[draw]]).generate_state(1, np.uint64)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(int(entropy[0])))
    groups = targets[order] if targets.dtype == torch.int64 else torch.zeros(len(order), dtype=torch.int64)
    wanted = _apportion(groups.bincount(), count)
    # The place of each example within its class, in the shuffled order.
    by_class = groups.argsort(stable=True)
    sizes = groups.bincount()
    starts = sizes.cumsum(0) - sizes
    place = torch.empty_like(by_class)
    place[by_class] = torch.arange(len(order)) - starts[groups[by_class]]
    drawn = place < wanted[groups]
    return order[drawn].sort().values, order[~drawn].sort().values


def _apportion(sizes: Tensor, count: int) -> Tensor:
    """How many of each class: its share rounded down, and the rest to those that lost most by rounding."""
    quota = sizes.double() * count / int(sizes.sum())
    whole = quota.floor().long()
    loss = (quota - whole).argsort(descending=True, stable=True)
    whole[loss[: count - int(whole.sum())]] += 1
    return whole
