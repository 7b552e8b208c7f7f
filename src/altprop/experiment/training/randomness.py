"""All random states of a process together: Python's, numpy's and torch's."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from altprop.experiment.seeding import seeded


@contextmanager
def all_seeded(seed: int) -> Iterator[None]:
    """Within this block all random states start from ``seed``; after it they are as before."""
    python, numpy = random.getstate(), np.random.get_state()
    with seeded(seed):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The random states, as tensors on the CPU.

    Args:
        device: that is trained on; its state is among them.
    """
    version, python, gauss = random.getstate()
    _, numpy, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "python": torch.from_numpy(np.array([version, *python])),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.concatenate([[position, has_gauss], numpy]).astype(np.int64)),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the random states back to what :func:`random_states` found."""
    version, *python = states["python"].tolist()
    random.setstate((version, tuple(python), next(iter(states["python_gauss"].tolist()), None)))
    position, has_gauss, *numpy = states["numpy"].tolist()
    cached = states["numpy_gauss"].item()
    np.random.set_state(("MT19937", np.array(numpy, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
