"""What training by a recipe costs over the bare loop that a user would write, per epoch: LeNet on the digits.

Both train the same network on the same batches and test it after each epoch; the digits are enlarged to 16×16, the
least that LeNet takes. They take turns, an epoch each, so that whatever else the machine does slows both. The figure is
the ratio of the times of a whole training, the median over rounds; the first epochs do not count. The framework is
measured without a folder, and with one: then it writes checkpoints, the history and the default logger's files.

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
from altprop.experiment.data.examples import Splits
from altprop.experiment.networks.names import Shape
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.training import EpochFigures
from altprop.experiment.training.fit import fit

_LR, _BATCH = 0.01, 64


def digits() -> Splits:
    """The digits, enlarged."""
    data = load_data("digits")
    train, test = (F.interpolate(x, size=16) for x in (data.x_train, data.x_test))
    return Splits.of(replace(data, x_train=train, x_test=test))


class Bare:
    """The loop of a user."""

    def __init__(self, rule: str, splits: Splits) -> None:
        self.splits = splits
        self.model = build_model("lenet", Shape(splits.input_shape, splits.outputs), seed=0)
        self.attachment = make_rule(rule).attach(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=_LR, momentum=0.9)

    def run_epoch(self) -> None:
        """An epoch, and its test."""
        model, optimizer, test = self.model, self.optimizer, self.splits.test
        x, y = self.splits.train.x, self.splits.train.y
        for batch in torch.randperm(len(x)).split(_BATCH):
            optimizer.zero_grad()
            inputs, classes = x[batch], y[batch]
            with targets(classes):
                loss = F.cross_entropy(model(inputs), classes)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            (model(test.x).argmax(1) == test.y).float().mean().item()
        model.train()


def measure(
    rule: str, splits: Splits, epochs: int, clock: Callable[[], float], folder: Path | None
) -> tuple[float, float]:
    """The seconds of an epoch, by a recipe and in the bare loop."""
    recipe = Recipe(
        model={"name": "lenet"},
        rule={"name": rule},
        optimizer={"lr": _LR},
        training={"epochs": epochs, "batch_size": _BATCH},
    )
    bare, own, plain = Bare(rule, splits), list[float](), list[float]()
    mark = clock()

    def turn(_: EpochFigures) -> None:
        nonlocal mark
        end = clock()
        bare.run_epoch()
        own.append(end - mark)
        mark = clock()
        plain.append(mark - end)

    fit(recipe, seed=0, splits=splits, folder=folder, on_epoch=turn)
    return statistics.fmean(own[1:]), statistics.fmean(plain[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=["backprop", "lfp"])
    parser.add_argument("--rounds", type=int, default=10)
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
    print(f"torch {torch.__version__}, {args.threads} threads; ms per epoch: by recipe, bare, ratio")
    for rule in args.rules:
        for name in ("no folder", "folder"):
            with tempfile.TemporaryDirectory() as place:
                turns = range(args.rounds + 1)
                folders = [Path(place) / str(turn) if name == "folder" else None for turn in turns]
                found = [measure(rule, splits, args.epochs, clock, folder) for folder in folders][1:]
            own, plain = (1e3 * statistics.median(times) for times in zip(*found, strict=True))
            ratios = [mine / theirs for mine, theirs in found]
            print(f"{rule:12} {name:10} {own:8.2f} {plain:8.2f} {statistics.median(ratios):8.3f}", flush=True)


if __name__ == "__main__":
    main()
