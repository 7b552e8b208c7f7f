"""How the benchmarks take time: two things side by side, turn by turn in one process.

A machine that slows down then slows both. A turn is a few calls in a row, as in use; the first, which finds the caches
full of the other's, is not timed. The figure is the median over rounds of the ratio within the round. On Linux, memory
that was freed is kept for the next call, as other allocators do: by default glibc hands large blocks back to the
kernel, and what is measured then is how often fresh pages happen to be needed (up to a third of a LeNet's training
step, now in one rule's, now in another's).
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import statistics
import time
from collections.abc import Callable

import torch

TIMED = 3  # calls of a turn, beside the one that is not


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to hand memory back; other systems are left as they are."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # <malloc.h>
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 2**28)
        libc.mallopt(mmap_threshold, 2**25)


def side_by_side(
    base: Callable[[], object],
    own: Callable[[], object],
    rounds: int,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median time of ``own`` in milliseconds, and median ratio to the time of ``base``.

    Args:
        base: what is compared with.
        own: what is measured.
        rounds: how many turns each takes.
        device: ``"cpu"`` or ``"cuda"``.
        clock: seconds; ``time.process_time`` does not count what other programs take of the machine.
    """
    calls, seconds = (base, own), ([], [])
    warm_up, shuffled = max(3, rounds // 10), random.Random(0)
    for turn in range(warm_up + rounds):
        for n in shuffled.sample([0, 1], 2):
            taken = _timed(calls[n], device, clock)
            if turn >= warm_up:
                seconds[n].append(taken)
    ratios = (mine / plain for plain, mine in zip(*seconds, strict=True))
    return {"ms": 1e3 * statistics.median(seconds[1]), "ratio": statistics.median(ratios)}


def _timed(call: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    for _ in range(TIMED):
        call()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / TIMED
