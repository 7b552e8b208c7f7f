"""Peak memory of one training step of each rule, as a ratio to plain backprop's on the same network.

On a CPU, torch's profiler reports every allocation and release of its allocator; their running sum is the memory in use,
and its maximum over a warm step is exact and the same at every run. On a GPU, the figure is
``torch.cuda.max_memory_allocated``. Both count what the step adds to the parameters, momentum-free SGD, and batch.

    python benchmarks/memory.py
    python benchmarks/memory.py --nets vgg --device cuda
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from networks import NETWORKS, make
from rules import PEER, RULES, peer_is_installed, step_of


def peak(step: Callable[[], None], device: str) -> int:
    """Bytes that a warm step needs at its peak beyond what was in use before it."""
    for _ in range(3):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    in_use = highest = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            in_use += event.nbytes()
            highest = max(highest, in_use)
    return highest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rules = [*RULES, *([PEER] if peer_is_installed() else [])]
    print(f"torch {torch.__version__}, {args.device}; ratio to backprop (MiB)")
    print(f"{'':8}" + "".join(f"{rule:>20}" for rule in rules))
    for net in args.nets:
        peaks = {rule: peak(step_of(rule, *make(net, args.device)), args.device) for rule in rules}
        cells = (f"{peaks[rule] / peaks['backprop']:.3f} ({peaks[rule] / 2**20:.1f})" for rule in rules)
        print(f"{net:8}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
