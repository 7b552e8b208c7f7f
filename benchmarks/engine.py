"""What the engine costs: over a bare loop, and beside another version of altprop.

* The whole of a training with a folder, over a hand-written loop that does the same steps and tests after each epoch;
  ``benchmarks/overhead.py`` has it by rule, with and without a folder.
* The digits comparison: nine rules, three seeds, forty epochs, by ``altprop compare``. With ``--beside``, the source of
  another version runs the same comparison at the same time, both held to one core, which they share: whatever else the
  machine does slows both. The figure is the ratio of the CPU times.

    python benchmarks/engine.py
    python benchmarks/engine.py --beside ../altprop-0.1.0/src --rounds 3 --epochs 40
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from overhead import digits, measure
from timing import keep_freed_memory

HERE = Path(__file__).parent.parent / "src"
RULES = "backprop,lfp,fa,sign-symmetric,kp,dfa,drtp,local-loss,shallow"


def whole_training(rule: str, rounds: int, epochs: int) -> float:
    """The ratio of the CPU time of a training by recipe, with a folder, to that of the bare loop: median of rounds."""
    splits, ratios = digits(), []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as place:
            own, plain = measure(rule, splits, epochs, time.process_time, Path(place) / "it")
            ratios.append(own / plain)
    return statistics.median(ratios[1:])


def start(source: Path, epochs: int, seeds: int, out: str) -> subprocess.Popen[bytes]:
    """Start the digits comparison of one version."""
    words = ["compare", "--data", "digits", "--model", "256-256", "--rules", RULES, "--epochs", str(epochs)]
    words += ["--seeds", str(seeds), "--threads", "1", "--out", out, "--name", "it"]
    return subprocess.Popen(
        [sys.executable, "-m", "altprop.cli", *words],
        env=os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )


def comparisons(sources: list[Path], epochs: int, seeds: int) -> list[float]:
    """The CPU seconds of the comparison by each version, run at the same time on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as place:
        running = [start(one, epochs, seeds, f"{place}/{n}") for n, one in enumerate(sources)]
        seconds = []
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"The comparison failed, with status {process.returncode}.")
            seconds.append(usage.ru_utime + usage.ru_stime)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=["backprop", "lfp"], help="of the training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3, help="of the comparison")
    parser.add_argument("--beside", type=Path, help="the src folder of another version")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, CPU time")
    for rule in args.rules:
        ratio = whole_training(rule, args.rounds, args.epochs)
        print(f"a training by {rule} with a folder, over the bare loop: {ratio:.3f}", flush=True)
    sources = [HERE, *([args.beside] if args.beside else [])]
    for _ in range(args.rounds if args.beside else 1):
        seconds = comparisons(sources, args.epochs, args.seeds)
        ratio = f", {seconds[1]:.1f} s by the other: {seconds[0] / seconds[1]:.3f}" if args.beside else ""
        print(f"digits comparison of {len(RULES.split(','))} rules: {seconds[0]:.1f} s{ratio}", flush=True)


if __name__ == "__main__":
    main()
