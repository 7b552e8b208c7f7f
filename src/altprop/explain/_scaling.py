"""How relevance becomes numbers between -1 and 1 that can be coloured."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def finite(relevance: Any, what: str = "The relevance") -> Tensor:
    """Relevance as float64 on the CPU.

    Args:
        relevance: a tensor on any device, an array, or nested lists of numbers.
        what: what to call it in errors.

    Raises:
        TypeError: it is not made of real numbers.
        ValueError: some of it is NaN or infinite.
    """
    try:
        # Arrays are copied: torch takes none that are read-only or run backwards.
        values = torch.as_tensor(relevance.copy() if hasattr(relevance, "copy") else relevance).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what} must be a tensor or an array, got {type(relevance).__name__}: {error}") from error
    if values.is_complex():
        raise TypeError(f"{what} must be made of real numbers, got {values.dtype}.")
    values = values.to(device="cpu", dtype=torch.float64)
    broken = int((~values.isfinite()).sum())
    if broken:
        raise ValueError(
            f"{what} holds {broken} of {values.numel()} values that are NaN or infinite. Look for them in the model's "
            f"weights and inputs; a rule with a larger epsilon divides by less small numbers."
        )
    return values


def scaled(values: Tensor, *, percentile: float, together: bool) -> Tensor:
    """Divide by the largest absolute value, so that all lies between -1 and 1 and zero stays zero.

    Args:
        values: of shape (batch, ...), float64.
        percentile: what counts as the largest: the smallest absolute value that this percentage of the values does not
            exceed. Larger ones are clipped.
        together: whether the whole batch has one scale; otherwise each of its members has its own.

    Raises:
        ValueError: ``percentile`` is not above 0 and at most 100.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"A percentile is above 0 and at most 100, got {percentile}.")
    if together:
        return scaled(values.unsqueeze(0), percentile=percentile, together=False).squeeze(0)
    limits = torch.tensor([_limit(one, percentile) for one in values], dtype=torch.float64)
    return (values / limits.reshape(-1, *[1] * (values.dim() - 1))).clamp(-1, 1)


def _limit(values: Tensor, percentile: float) -> float:
    """The absolute value that is coloured fully; 1 where all is zero."""
    sizes = values.abs().flatten()
    if not sizes.numel():
        return 1.0
    limit = float(sizes.kthvalue(math.ceil(percentile / 100 * sizes.numel())).values)
    # Of relevance that is zero nearly everywhere, the rest is what there is to see.
    return limit or float(sizes.max()) or 1.0
