"""Cosine, norm ratio and sparsity of two vectors, from sums that can be accumulated over parts and batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from altprop._sharding import full_tensor


@dataclass(frozen=True)
class VectorSums:
    """Sums over the entries of two vectors u and v; those of a layer's parameters add up."""

    dot: float
    uu: float
    vv: float
    zeros: float
    size: float

    @classmethod
    def of(cls, u: Tensor, v: Tensor, threshold: float = 0.0) -> VectorSums:
        """Those of ``u`` and ``v``; entries of ``u`` up to ``threshold`` count as zero."""
        u, v = _flat(u), _flat(v)
        count = (u.abs() <= threshold).sum()
        # Stacked, to wait for the device only once.
        dot, uu, vv, zeros = torch.stack([u.dot(v), u.dot(u), v.dot(v), count]).tolist()
        return cls(dot, uu, vv, zeros, u.numel())

    def __add__(self, other: VectorSums) -> VectorSums:
        return VectorSums(
            self.dot + other.dot,
            self.uu + other.uu,
            self.vv + other.vv,
            self.zeros + other.zeros,
            self.size + other.size,
        )


def _flat(v: Tensor) -> Tensor:
    v = full_tensor(v.detach())
    return (v if v.layout == torch.strided else v.to_dense()).flatten().double()


# None where undefined, and then left out of averages; nan in the gradients stays nan.
Measure = Callable[[VectorSums], float | None]


def cosine(sums: VectorSums) -> float | None:
    """The cosine of the angle between u and v: 0 if one of them is zero, undefined if both are."""
    if sums.uu == 0 or sums.vv == 0:
        return None if sums.uu == sums.vv else 0.0
    return sums.dot / (math.sqrt(sums.uu) * math.sqrt(sums.vv))


def norm_ratio(sums: VectorSums) -> float | None:
    """|u| / |v|: infinite if v alone is zero, undefined if both are."""
    if sums.vv == 0:
        return None if sums.uu == 0 else math.inf
    return math.sqrt(sums.uu) / math.sqrt(sums.vv)


def sparsity(sums: VectorSums) -> float | None:
    """The fraction of the entries of u that count as zero."""
    return sums.zeros / sums.size if sums.size else None


def mean(values: list[float | None]) -> float:
    """The mean of what is defined; nan if nothing is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else math.nan
