"""Time of one training step of each rule, as a ratio to plain backprop's on the same network.

Each rule runs side by side with backprop, as :mod:`timing` says.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --nets vgg --rounds 100 --device cuda
    .venv-parity/bin/python benchmarks/step_time.py      # with lfprop and biotorch beside (after: make parity)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from networks import NETWORKS, make
from rules import NOT_OURS, available, step_of
from timing import keep_freed_memory, side_by_side

ROUNDS = {"mlp": 400, "lenet": 100, "vgg": 20}


def measure(net: str, rule: str, rounds: int, device: str, compiled: bool) -> dict[str, float]:
    """Median step time in milliseconds and median ratio to backprop, of one rule side by side with backprop."""
    steps = [step_of(name, *make(net, device), compiled) for name in ("backprop", rule)]
    return side_by_side(*steps, rounds, device)


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
