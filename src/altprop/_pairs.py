"""Cosine, ratio of lengths and sparsity of pairs of vectors, in sums that add up over parts and batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from altprop._pieces import whole


@dataclass(frozen=True)
class Pair:
    """All that is measured of a vector u beside a vector v, as sums over entries: those of a layer's parts add up."""

    dot: float
    uu: float
    vv: float
    zeros: float
    size: float

    @classmethod
    def of(cls, u: Tensor, v: Tensor, threshold: float = 0.0) -> Pair:
        """Measure ``u`` beside ``v``; entries of ``u`` up to ``threshold`` count as zero."""
        u, v = _flat(u), _flat(v)
        count = (u.abs() <= threshold).sum()
        # Stacked, so that a device is waited for once.
        dot, uu, vv, zeros = torch.stack([u.dot(v), u.dot(u), v.dot(v), count]).tolist()
        return cls(dot, uu, vv, zeros, u.numel())

    def __add__(self, other: Pair) -> Pair:
        return Pair(
            self.dot + other.dot,
            self.uu + other.uu,
            self.vv + other.vv,
            self.zeros + other.zeros,
            self.size + other.size,
        )


def _flat(v: Tensor) -> Tensor:
    v = whole(v.detach())
    return (v if v.layout == torch.strided else v.to_dense()).flatten().double()


# A measure is None where it is undefined, and left out of averages; a nan in the gradients shows as nan.
Measure = Callable[[Pair], float | None]


def cosine(pair: Pair) -> float | None:
    """The cosine of the angle between u and v: 0 if one of them is zero, undefined if both are."""
    if pair.uu == 0 or pair.vv == 0:
        return None if pair.uu == pair.vv else 0.0
    return pair.dot / (math.sqrt(pair.uu) * math.sqrt(pair.vv))


def norm_ratio(pair: Pair) -> float | None:
    """|u| / |v|: infinite if v alone is zero, undefined if both are."""
    if pair.vv == 0:
        return None if pair.uu == 0 else math.inf
    return math.sqrt(pair.uu) / math.sqrt(pair.vv)


def sparsity(pair: Pair) -> float | None:
    """The fraction of the entries of u that count as zero."""
    return pair.zeros / pair.size if pair.size else None


def mean(values: list[float | None]) -> float:
    """The mean of what is defined; nan if nothing is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else math.nan
