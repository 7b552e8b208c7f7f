"""All random states of a process together: Python's, numpy's and torch's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

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
