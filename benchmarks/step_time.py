"""Time of one training step of each rule, as a ratio to plain backprop's on the same network.

Each rule runs side by side with backprop, turn by turn in one process, so that a machine that slows down slows both. A
turn is a few steps in a row, as in training; the first, which finds the caches full of the other's, is not timed. The
figure is the median over rounds of the ratio within the round. On Linux, memory that was freed is kept for
the next step, as other allocators do: by default glibc hands large blocks back to the kernel, and what is measured then
is how often fresh pages happen to be needed (up to a third of LeNet's step, now in one rule's, now in another's).

    python benchmarks/step_time.py
    python benchmarks/step_time.py --nets vgg --rounds 100 --device cuda
    .venv-parity/bin/python benchmarks/step_time.py      # with lfprop and biotorch beside (after: make parity)
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from networks import NETWORKS, make
from rules import NOT_OURS, available, step_of

ROUNDS = {"mlp": 400, "lenet": 100, "vgg": 20}
TIMED = 3  # steps of a turn, beside the one that is not


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to hand memory back; other systems are left as they are."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # <malloc.h>
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 2**28)
        libc.mallopt(mmap_threshold, 2**25)


def measure(net: str, rule: str, rounds: int, device: str, compiled: bool) -> dict[str, float]:
    """Median step time in milliseconds and median ratio to backprop, of one rule side by side with backprop."""
    steps = [step_of(name, *make(net, device), compiled) for name in ("backprop", rule)]
    base, own = [], []
    warm_up, shuffled = max(3, rounds // 10), random.Random(0)
    for turn in range(warm_up + rounds):
        seconds = {n: _timed(steps[n], device) for n in shuffled.sample([0, 1], 2)}
        if turn >= warm_up:
            base.append(seconds[0])
            own.append(seconds[1])
    ratios = (mine / plain for mine, plain in zip(own, base, strict=True))
    return {"ms": 1e3 * statistics.median(own), "ratio": statistics.median(ratios)}


def _timed(step: Callable[[], None], device: str) -> float:
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(TIMED):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / TIMED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rules", nargs="+", choices=available(), default=available())
    parser.add_argument("--rounds", type=int, help="default: enough for a steady median on each network")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the attached models (but what is not altprop's)",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    others = [rule for rule in args.rules if rule != "backprop" and not (args.compile and rule in NOT_OURS)]
    rules = ["backprop", *others]
    results = {}
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads; ratio to backprop (milliseconds)")
    print(f"{'':8}" + "".join(f"{rule:>20}" for rule in rules))
    for net in args.nets:
        rounds = args.rounds or ROUNDS[net]
        results[net] = {rule: measure(net, rule, rounds, args.device, args.compile) for rule in rules}
        cells = (f"{results[net][rule]['ratio']:.3f} ({results[net][rule]['ms']:.2f})" for rule in rules)
        print(f"{net:8}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
