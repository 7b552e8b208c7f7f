"""The order of the samples: a function of seed and epoch, cut into batches, parts of batches and their weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from altprop.experiment.errors import InputError


@dataclass(frozen=True)
class Batches:
    """How the samples of an epoch are cut: the same batches, however many processes and parts there are.

    Attributes:
        samples: how many there are.
        size: of a batch.
        processes: that take a slice of each batch.
        rank: the number of this one.
        accumulate: into how many parts a process cuts its slice.
        least: the samples that the last batch of an epoch needs to be taken.
    """

    samples: int
    size: int
    processes: int = 1
    rank: int = 0
    accumulate: int = 1
    least: int = 2

    @property
    def per_epoch(self) -> int:
        """How many batches an epoch has."""
        whole, left_over = divmod(self.samples, self.size)
        return max(1, whole + (left_over >= self.least))

    def order(self, seed: int, epoch: int) -> list[Tensor]:
        """The indices of each batch of an epoch, from 1."""
        digest = hashlib.blake2b(f"{seed} {epoch}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest))
        order = torch.randperm(self.samples, generator=generator)
        return list(torch.split(order, self.size)[: self.per_epoch])

    def parts(self, batch: Tensor) -> list[tuple[Tensor, float, int]]:
        """The indices of this process's parts of a batch, each with its weight and the samples that count."""
        if self.processes == self.accumulate == 1:
            return [(batch, 1.0, len(batch))]
        own = batch.tensor_split(self.processes)[self.rank].tensor_split(self.accumulate)
        scale = self.processes / len(batch)
        # Each process takes part in each exchange of updates: one without samples takes any, which does not count.
        return [(part, len(part) * scale, len(part)) if len(part) else (batch[:1], 0.0, 0) for part in own]


def check_batches(batches: Batches, normalised: bool) -> None:
    """Check that no part of a batch is too small.

    Args:
        batches: how they are cut.
        normalised: whether the network takes statistics of a batch, which one sample has none of.

    Raises:
        InputError: one is.
    """
    parts = batches.processes * batches.accumulate
    if normalised and min(batches.size, batches.samples) < 2 * parts:
        raise InputError(
            f"Batch norm needs 2 samples or more at a time, and a batch of {min(batches.size, batches.samples)} is cut "
            f"into {parts}: raise training.batch_size, or take another model.norm."
        )
