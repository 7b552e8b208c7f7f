"""Batches in a fixed order, read by as many processes as one likes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from altprop.experiment.data.examples import Chosen, Examples, Reconstructed, TensorExamples
from altprop.experiment.data.images import ImageExamples
from altprop.experiment.errors import InputError


def batches(
    examples: Examples, index_batches: Iterable[Tensor], epoch: int, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch: the same ones, in the same order, for any number of workers.

    Args:
        examples: what they are of; examples in memory are indexed directly.
        index_batches: the numbers of the examples in each batch, int64 of shape (samples,).
        epoch: from 1; 0 is without augmentation.
        workers: processes that read and decode.

    Raises:
        InputError: a file cannot be read.
    """
    if not workers or _at_hand(examples):
        yield from (examples.batch(indices, epoch) for indices in index_batches)
        return
    # The loader draws seeds for its workers, which use none: from a generator of its own, not from torch's.
    loader: DataLoader[_Read] = DataLoader(
        _Batches(examples, epoch),
        batch_size=None,
        sampler=index_batches,
        num_workers=workers,
        generator=torch.Generator(),
        collate_fn=_as_it_is,
        multiprocessing_context="forkserver" if "jax" in sys.modules else None,  # JAX has threads, which a fork loses
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


def _at_hand(examples: Examples) -> bool:
    if isinstance(examples, Reconstructed | Chosen):
        return _at_hand(examples.examples)
    return isinstance(examples, TensorExamples) or (isinstance(examples, ImageExamples) and examples.at_hand)


_Read = tuple[Tensor, Tensor] | InputError


@dataclass(frozen=True)
class _Batches(Dataset[_Read]):
    """What workers run. An error is handed over as a value: raised there, it would arrive wrapped in a traceback."""

    examples: Examples
    epoch: int

    def __getitem__(self, indices: Tensor) -> _Read:
        try:
            return self.examples.batch(indices, self.epoch)
        except InputError as error:
            return error


def _as_it_is(batch: Any) -> Any:  # the loader's type for it does not know of batches that are made whole
    return batch
