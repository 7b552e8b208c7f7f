"""Sharded tensors, as FSDP2 (``torch.distributed.fsdp.fully_shard``) keeps them: each process holds one shard."""

from __future__ import annotations

from typing import cast

from torch import Tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself, or gathered from the shards of all processes, which must all call this.

    Example:
        >>> import torch
        >>> full_tensor(torch.ones(2))
        tensor([1., 1.])
    """
    # Looked up by its method: importing DTensor takes a while, and few need it.
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else cast(Tensor, gather())


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Shard ``value``, the same in all processes, as ``like`` is sharded; as it is if that is an ordinary tensor.

    Example:
        >>> import torch
        >>> shard_like(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor  # noqa: PLC0415  (as above)

    assert isinstance(like, DTensor)
    # src_data_rank=None: each process cuts its own shard, and none is sent.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
