"""What training by a recipe costs over the bare loop that a user would write, per epoch: LeNet on the digits.

Both train the same network on the same batches and test it after each epoch; the digits are enlarged to 16×16, the
least that LeNet takes. They take turns, a training of a few epochs each, so that whatever else the machine does slows
both. The figure is the median over rounds of the ratio within the round; the first epoch of a training does not count.
The framework is measured without a folder, and with one: then it writes checkpoints, the history and the default
logger's files.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --rules backprop lfp --rounds 30 --epochs 10 --cpu-time
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from timing import keep_freed_memory
from torch.nn import functional as F

from altprop import targets
from altprop.experiment import build_model, load_data, make_rule
from altprop.experiment.fitting import fit
from altprop.experiment.models import Shape
from altprop.experiment.recipes import Recipe
from altprop.experiment.sources import Splits

_LR, _BATCH = 0.01, 64


def digits() -> Splits:
    """The digits, enlarged."""
    data = load_data("digits")
    train, test = (F.interpolate(x, size=16) for x in (data.x_train, data.x_test))
    return Splits.of(replace(data, x_train=train, x_test=test))


def bare(rule: str, splits: Splits, epochs: int, clock: Callable[[], float]) -> float:
    """The seconds that an epoch takes in the loop of a user."""
    x, y = splits.train.x, splits.train.y
    model = build_model("lenet", Shape(splits.input_shape, splits.outputs), seed=0)
    attachment = make_rule(rule).attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=_LR, momentum=0.9)
    ends = []
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(_BATCH):
            optimizer.zero_grad()
            with targets(y[batch]):
                loss = F.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            (model(splits.test.x).argmax(1) == splits.test.y).float().mean().item()
        model.train()
        ends.append(clock())
    attachment.remove()
    return (ends[-1] - ends[0]) / (epochs - 1)


def framework(rule: str, splits: Splits, epochs: int, clock: Callable[[], float], folder: Path | None) -> float:
    """The seconds that an epoch takes by a recipe."""
    recipe = Recipe(
        model={"name": "lenet"},
        rule={"name": rule},
        optimizer={"lr": _LR},
        training={"epochs": epochs, "batch_size": _BATCH},
    )
    ends: list[float] = []
    fit(recipe, seed=0, splits=splits, folder=folder, on_epoch=lambda _: ends.append(clock()))
    return (ends[-1] - ends[0]) / (epochs - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=["backprop", "lfp"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=20, help="of each training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--cpu-time", action="store_true", help="count this process's CPU time: steadier where others use the machine"
    )
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    splits = digits()
    print(f"torch {torch.__version__}, {args.threads} threads; milliseconds per epoch, and ratio to the bare loop")
    for rule in args.rules:
        times: dict[str, list[float]] = {"bare": [], "recipe": [], "recipe, folder": []}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(args.rounds + 1):
                found = {
                    "bare": bare(rule, splits, args.epochs, clock),
                    "recipe": framework(rule, splits, args.epochs, clock, None),
                    "recipe, folder": framework(rule, splits, args.epochs, clock, Path(folder) / str(turn)),
                }
                for name, seconds in found.items():
                    times[name] += [seconds] if turn else []
        for name, seconds in times.items():
            ratio = statistics.median(own / plain for own, plain in zip(seconds, times["bare"], strict=True))
            print(f"{rule:12} {name:16} {1e3 * statistics.median(seconds):8.2f} {ratio:8.3f}", flush=True)


if __name__ == "__main__":
    main()
