"""Fingerprints of weights, which notice changes that autograd does not count (``weight.data``)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SAMPLES = 1024
_SMALL = 4096


def fingerprint(weight: Tensor) -> Tensor:
    """A tensor that differs when the weight does.

    Small weights are their own. Of others it is the sum of their bits as whole numbers, at the speed of memory, which
    notices any value that changes; and that of some of them times their places, which notices values that change
    places. Sums of whole numbers are the same in every order.

    Args:
        weight: of any shape and dtype.

    Returns:
        The weight itself, flat, or (2), on the weight's device.

    Example:
        >>> w = torch.arange(6.0)
        >>> fingerprint(w).equal(fingerprint(w.clone())), fingerprint(w).equal(fingerprint(w.flip(0)))
        (True, False)
    """
    weight = weight.detach()
    if weight.numel() <= _SMALL:
        return weight.reshape(-1)
    bits = _bits(weight)
    some = bits[:: len(bits) // _SAMPLES]
    return torch.stack([bits.sum(dtype=torch.int64), (some * _places(len(some), bits.device)).sum()])


@lru_cache(maxsize=64)
def _places(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, 2 * count, 2, device=device)


def _bits(weight: Tensor) -> Tensor:
    """The memory of a weight as integers, as wide as fit."""
    if weight.is_complex():
        weight = torch.view_as_real(weight.resolve_conj())
    if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        weight = weight.permute(0, 2, 3, 1)
    flat = weight.contiguous().view(-1)
    size = flat.numel() * flat.element_size()
    fits = next(dtype for dtype in _WHOLE if size % dtype.itemsize == 0 and flat.data_ptr() % dtype.itemsize == 0)
    return flat.view(fits)


_WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)
