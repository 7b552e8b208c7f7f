"""Time of one explanation, as a ratio to the plain gradient of the same network's input.

The gradient is ``torch.autograd.grad(model(x)[:, target].sum(), x)``: forward and backward, of the input alone. The
parameters are as a trained model's are, not frozen. Each explanation runs side by side with the gradient, as
:mod:`timing` says, on torchvision's networks with random weights, in evaluation mode, for a batch of four images.

    python benchmarks/explain_time.py
    python benchmarks/explain_time.py --nets vgg16 --rounds 30 --device cuda
    .venv-parity/bin/python benchmarks/explain_time.py   # with zennit, captum and autoLRP beside (after: make parity)
"""

from __future__ import annotations

import argparse
import json
from fnmatch import fnmatchcase
from pathlib import Path

import torch
import torchvision
from explainers import available, explanation_of, gradient
from timing import keep_freed_memory, side_by_side
from torch import Tensor, nn

ROUNDS = {"vgg16": 12, "resnet18": 40}


def make(net: str, device: str, size: int) -> tuple[nn.Module, Tensor]:
    """A network with the same random weights at every call, and a random batch of four images for it."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(net, weights=None).eval().to(device)
    return model, torch.randn(4, 3, size, size, device=device)


def measure(net: str, name: str, rounds: int, device: str, size: int) -> dict[str, float]:
    """Median time in milliseconds and median ratio to the gradient, of one explanation side by side with it."""
    base, own = gradient(*make(net, device, size)), explanation_of(name, *make(net, device, size))
    return side_by_side(base, own, rounds, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=ROUNDS, default=list(ROUNDS))
    parser.add_argument("--explanations", nargs="+", default=["*"], help="patterns such as 'altprop/*' or '*/epsilon'")
    parser.add_argument("--rounds", type=int, help="default: enough for a steady median on each network")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    names = [n for n in available() if any(fnmatchcase(n, pattern) for pattern in args.explanations)]
    if not names:
        parser.error(f"no explanation matches {' '.join(args.explanations)}; there are: {', '.join(available())}")
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads; ratio to the gradient (milliseconds)")
    print(f"{'':30}" + "".join(f"{net:>20}" for net in args.nets))
    results: dict[str, dict[str, dict[str, float]]] = {net: {} for net in args.nets}
    for name in names:
        print(f"{name:30}", end="", flush=True)
        for net in args.nets:
            figures = measure(net, name, args.rounds or ROUNDS[net], args.device, args.size)
            results[net][name] = figures
            cell = f"{figures['ratio']:.3f} ({figures['ms']:.1f})"
            print(f"{cell:>20}", end="", flush=True)
        print()
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
