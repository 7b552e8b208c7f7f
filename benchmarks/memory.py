"""Peak memory of one training step of each rule, as a ratio to plain backprop's on the same network.

The figure is what the step needs at its peak beyond the model, the batch and the optimizer that are there before it:
activations, gradients and whatever lives for a moment in between. On a CPU, torch's profiler reports every allocation
and release of torch's allocator in order; their running sum is the memory in use, so its maximum is exact and the same
at every run. On a GPU it is ``torch.cuda.max_memory_allocated``. Each figure is taken in a process of its own, because
the profiler remembers blocks of earlier steps and a GPU keeps workspaces.

    python benchmarks/memory.py
    python benchmarks/memory.py --nets vgg --device cuda
    .venv-parity/bin/python benchmarks/memory.py      # with lfprop 1.0.0 beside (after: make parity)
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from networks import NETWORKS, make
from rules import available, step_of
from torch.profiler import ProfilerActivity, profile


def peak(rule: str, net: str, device: str) -> int:
    """Bytes that a first step of a fresh model needs at its peak, beyond what is there before it."""
    step_of(rule, *make(net, device))()  # of another model: it leaves behind the workspaces that every process has once
    gc.collect()
    step = step_of(rule, *make(net, device))
    return _peak_on_gpu(step) if device == "cuda" else _peak_on_cpu(step)


def _peak_on_cpu(step: Callable[[], None]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    in_use = highest = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            in_use += event.nbytes()
            highest = max(highest, in_use)
    return highest


def _peak_on_gpu(step: Callable[[], None]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks to stderr at every start and stop
    rules = available()
    print(f"torch {torch.__version__}, {args.device}; ratio to backprop (MiB)")
    print(f"{'':8}" + "".join(f"{rule:>20}" for rule in rules))
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as alone:
        for net in args.nets:
            peaks = {rule: alone.submit(peak, rule, net, args.device).result() for rule in rules}
            cells = (f"{peaks[rule] / peaks['backprop']:.3f} ({peaks[rule] / 2**20:.1f})" for rule in rules)
            print(f"{net:8}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
