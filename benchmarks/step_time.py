"""Time of one training step of each rule, as a ratio to plain backprop's on the same network.

Each rule runs side by side with backprop, as :mod:`timing` says.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --nets vgg --rounds 100 --device cuda
    python benchmarks/step_time.py --nets vit-tiny gpt-tiny --rules lfp fa dfa --threads 1 --cpu-time
    python benchmarks/step_time.py --nets vit-b-16 gpt2-small --rules lfp --device cuda --bfloat16
    .venv-parity/bin/python benchmarks/step_time.py      # with lfprop and biotorch beside (after: make parity)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from networks import NETWORKS, TRANSFORMERS, make
from rules import NOT_OURS, available, step_of
from timing import keep_freed_memory, side_by_side

ROUNDS = {"mlp": 400, "lenet": 100, "vgg": 20, "vit-tiny": 20, "gpt-tiny": 20, "vit-b-16": 20, "gpt2-small": 20}


def measure(
    net: str, rule: str, rounds: int, device: str, compiled: bool, bfloat16: bool, clock: Callable[[], float]
) -> dict[str, float]:
    """Median step time in milliseconds and median ratio to backprop, of one rule side by side with backprop."""
    steps = [step_of(name, *make(net, device), compiled, bfloat16) for name in ("backprop", rule)]
    return side_by_side(*steps, rounds, device, clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETWORKS | TRANSFORMERS, default=list(NETWORKS))
    parser.add_argument("--rules", nargs="+", choices=available(), default=available())
    parser.add_argument("--rounds", type=int, help="default: enough for a steady median on each network")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the attached models (but what is not altprop's)",
    )
    parser.add_argument("--bfloat16", action="store_true", help="run the models under torch.autocast")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count this process's CPU time: steadier where others use the machine"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    others = [rule for rule in args.rules if rule != "backprop" and not (args.compile and rule in NOT_OURS)]
    rules = ["backprop", *others]
    clock = time.process_time if args.cpu_time else time.perf_counter
    results = {}
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads; ratio to backprop (milliseconds)")
    print(f"{'':8}" + "".join(f"{rule:>20}" for rule in rules))
    for net in args.nets:
        rounds = args.rounds or ROUNDS[net]
        results[net] = {
            rule: measure(net, rule, rounds, args.device, args.compile, args.bfloat16, clock) for rule in rules
        }
        cells = (f"{results[net][rule]['ratio']:.3f} ({results[net][rule]['ms']:.2f})" for rule in rules)
        print(f"{net:8}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
