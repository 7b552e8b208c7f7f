"""Tensors of which each process holds a piece, as FSDP2 (``torch.distributed.fsdp.fully_shard``) keeps them."""

from __future__ import annotations

from typing import cast

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or put together from the pieces of all processes, which must all call this.

    Example:
        >>> import torch
        >>> whole(torch.ones(2))
        tensor([1., 1.])
    """
    # By its method: the class of such tensors takes a while to import, and few have any.
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else cast(Tensor, gather())


def in_pieces_as(value: Tensor, like: Tensor) -> Tensor:
    """Cut a whole tensor, the same in all processes, as another of its shape is cut; or leave it whole as that is.

    Example:
        >>> import torch
        >>> in_pieces_as(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor  # noqa: PLC0415  (as above)

    assert isinstance(like, DTensor)
    # src_data_rank=None: each process cuts its own piece, and none need send one.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
