"""The order of the samples: a function of seed and epoch, cut into batches, parts of batches and their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from altprop.experiment.errors import InputError
from altprop.experiment.sources import TensorExamples
from altprop.experiment.sources.splits import Examples


@dataclass(frozen=True)
class Part:
    """The samples of a batch that one process takes at once.

    Attributes:
        x: inputs.
        y: targets.
        weight: of their mean loss in that of the batch; for processes that average their updates, times their number.
        samples: how many of them count: 0 for a sample that only stands in for none.
    """

    x: Tensor
    y: Tensor
    weight: float
    samples: int


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


def read(examples: Examples, indices: list[Tensor], epoch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, one set of indices after another.

    Args:
        examples: of which.
        indices: of each set.
        epoch: what augmentation draws from; 0: there is none.
        workers: processes that read ahead; examples in memory need none.
    """
    if not workers or isinstance(examples, TensorExamples):
        return (examples.batch(one, epoch) for one in indices)
    return iter(DataLoader(_Sets(examples, indices, epoch), batch_size=None, num_workers=workers))


class _Sets(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, examples: Examples, indices: list[Tensor], epoch: int) -> None:
        self._examples, self._indices, self._epoch = examples, indices, epoch

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self._examples.batch(self._indices[number], self._epoch)
