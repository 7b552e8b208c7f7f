"""Peak memory of one training step of each rule, as a ratio to plain backprop's on the same network.

The figure is what the step needs at its peak beyond the model, the batch and the optimizer that are there before it:
activations, gradients and whatever lives for a moment in between. On a CPU, torch's profiler reports every allocation
and release of torch's allocator in order; their running sum is the memory in use, so its maximum is exact and the same
at every run. On a GPU it is ``torch.cuda.max_memory_allocated``. Each figure is taken in a process of its own, because
the profiler remembers blocks of earlier steps and a GPU keeps workspaces.

    python benchmarks/memory.py
    python benchmarks/memory.py --nets vgg --device cuda
    python benchmarks/memory.py --depths 8 16 32 64   # how the peak grows with depth
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
from networks import NETWORKS, deep, make
from rules import RULES, available, step_of
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import altprop


def peak(rule: str, net: str, device: str) -> int:
    """Bytes that a first step of a fresh model needs at its peak, beyond what is there before it."""
    step_of(rule, *make(net, device))()  # of another model: it leaves behind the workspaces that every process has once
    gc.collect()
    step = step_of(rule, *make(net, device))
    return _peak_on_gpu(step) if device == "cuda" else _peak_on_cpu(step)


def peak_at_depth(rule: str, depth: int, device: str) -> int:
    """Bytes that forward and backward need at their peak in a deep network, with its gradients there before."""
    model, x, y = deep(depth, device)
    RULES[rule]().attach(model)

    def accumulate() -> None:
        with altprop.targets(y):
            loss = F.cross_entropy(model(x), y)
        loss.backward()

    accumulate()  # leaves the gradients, and what the rule draws on the first batch
    gc.collect()
    return _peak_on_gpu(accumulate) if device == "cuda" else _peak_on_cpu(accumulate)


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
    parser.add_argument("--depths", nargs="+", type=int, help="layers of width 1024, in place of the networks")
    parser.add_argument("--rules", nargs="+", choices=available(), default=available())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks to stderr at every start and stop
    if args.depths:
        _study_depth(args.depths, args.rules, args.device)
    else:
        _compare(args.nets, ["backprop", *(rule for rule in args.rules if rule != "backprop")], args.device)


def _compare(nets: list[str], rules: list[str], device: str) -> None:
    print(f"torch {torch.__version__}, {device}; ratio to backprop (MiB)")
    print(f"{'':8}" + "".join(f"{rule:>20}" for rule in rules))
    with _alone() as alone:
        for net in nets:
            peaks = {rule: alone.submit(peak, rule, net, device).result() for rule in rules}
            cells = (f"{peaks[rule] / peaks['backprop']:.3f} ({peaks[rule] / 2**20:.1f})" for rule in rules)
            print(f"{net:8}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def _study_depth(depths: list[int], rules: list[str], device: str) -> None:
    print(f"torch {torch.__version__}, {device}; peak of forward and backward in MiB (ratio to the first)")
    print(f"{'layers':20}" + "".join(f"{depth:>18}" for depth in depths))
    with _alone() as alone:
        for rule in rules:
            peaks = [alone.submit(peak_at_depth, rule, depth, device).result() for depth in depths]
            cells = (f"{value / 2**20:.1f} ({value / peaks[0]:.2f})" for value in peaks)
            print(f"{rule:20}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def _alone() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)


if __name__ == "__main__":
    main()
