"""A number that tells whether a weight is what it was, for changes that autograd does not count (``weight.data``)."""

from __future__ import annotations

import torch
from torch import Tensor

_SAMPLES = 2048


def fingerprint(weight: Tensor) -> Tensor:
    """The sum of a weight's bits as whole numbers, and that of some of them times their places.

    The first notices any value that changes, at the speed of memory; the second notices values that change places. Sums
    of whole numbers are the same in every order.

    Args:
        weight: of any shape and dtype.

    Returns:
        (2), on the weight's device.

    Example:
        >>> w = torch.arange(6.0)
        >>> fingerprint(w).equal(fingerprint(w.clone())), fingerprint(w).equal(fingerprint(w.flip(0)))
        (True, False)
    """
    with torch.no_grad():
        bits = _bits(weight.detach())
        some = bits[:: max(1, len(bits) // _SAMPLES)]
        places = torch.arange(1, 2 * len(some), 2, device=bits.device)
        return torch.stack([bits.sum(dtype=torch.int64), torch.mul(some, places).sum(dtype=torch.int64)])


def _bits(weight: Tensor) -> Tensor:
    """The memory of a weight as whole numbers, as wide as they fit."""
    if weight.is_complex():
        weight = torch.view_as_real(weight.resolve_conj())
    if weight.is_contiguous():
        flat = weight.reshape(-1)
    elif weight.is_contiguous(memory_format=torch.channels_last if weight.dim() == 4 else torch.contiguous_format):
        flat = weight.permute(0, 2, 3, 1).reshape(-1)
    else:
        flat = weight.contiguous().reshape(-1)
    size = flat.numel() * flat.element_size()
    fits = next(dtype for dtype in _WHOLE if size % dtype.itemsize == 0 and flat.data_ptr() % dtype.itemsize == 0)
    return flat.view(fits)


_WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)
