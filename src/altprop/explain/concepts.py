"""Concepts: the channels of hidden layers that relevance may pass through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Concepts = Mapping[str, int | Iterable[int]]


def masks_of(concepts: Concepts | None, checked: Callable[[str], str]) -> dict[str, Callable[[Tensor], Tensor]]:
    """For modules by name, a function that keeps only the relevance of their concepts.

    Args:
        concepts: for modules by name the channels.
        checked: the name of a module, if there is one of that name.
    """
    return {
        checked(name): _only(name, [channels] if isinstance(channels, int) else list(channels))
        for name, channels in (concepts or {}).items()
    }


def _only(name: str, channels: list[int]) -> Callable[[Tensor], Tensor]:
    """Keeps the relevance of these channels and zeros the rest."""

    def mask(R: Tensor) -> Tensor:
        if any(not -R.shape[1] <= channel < R.shape[1] for channel in channels):
            raise ValueError(f"The concepts {channels} of {name!r} are out of range: it has {R.shape[1]} channels.")
        kept = torch.zeros_like(R)
        kept[:, channels] = R[:, channels]
        return kept

    return mask
