"""Which learning rate to take where none is given: each rule and optimizer, at the rates of a grid, on small sets.

Each network is trained for a short time, and judged on samples that were held out from the training data. A rate's
figure on a set says how much of what the rule reaches there at its best rate it reaches, from 0 (an untrained network)
to 1; the table gives the mean over the sets and the worst of them. The rate to take is the lowest whose worst is
within 0.1 of the best worst: deep networks, and long trainings, do not bear high ones.

    python benchmarks/default_rates.py
    python benchmarks/default_rates.py --rules lfp --optimizers sgd --sets swirl-relu digits-relu
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from altprop.experiment.data.embedded import DATA
from altprop.experiment.recipes import Recipe
from altprop.experiment.registry import RULES
from altprop.experiment.training.fit import fit

# Name: hidden widths, epochs, the fraction of the data; each with both kinds of activation.
_SETS = {
    "digits": ("64-64", 15, 1.0),
    "mnist-5k": ("64", 5, 0.4),
    "mnist1d": ("64-64", 15, 0.5),
    "circles": ("32-32", 20, 1.0),
    "blobs": ("32-32", 20, 1.0),
    "swirl": ("64-64", 60, 1.0),
    "sine": ("32-32", 40, 1.0),
    "teacher-student": ("64-64", 15, 0.5),
}
SETS = {f"{name}-{act}": (name, act, *rest) for name, rest in _SETS.items() for act in ("relu", "tanh")}
GRIDS = {
    "sgd": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "adam": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "rmsprop": (0.0001, 0.0003, 0.001, 0.003, 0.01),
}


def gain(rule: str, optimizer: str, lr: float, name: str) -> float:
    """By how much training raises the score on held-out data, of what there is to gain; 0 where it diverges."""
    data, activation, widths, epochs, fraction = SETS[name]
    recipe = Recipe(
        data={"name": data, "fraction": fraction, "validation": 0.2},
        model={"name": widths, "activation": activation},
        rule=rule,
        optimizer={"name": optimizer, "lr": lr},
        training={"epochs": epochs},
    )
    trained = fit(recipe, seed=0)
    start = trained.start.val_score or 0.0
    if DATA[data].task == "regression":
        start = max(start, 0.0)  # what the mean of the targets reaches
    last = trained.history[-1].val_score if trained.status == "finished" else start
    return max(0.0, ((last or 0.0) - start) / (1 - start))


def fit_for(rule: str, sets: Iterable[str]) -> list[str]:
    """The sets that a rule can learn: DRTP has no regression, and needs bounded activations."""
    tasks = {name for name in sets if DATA[SETS[name][0]].task in RULES[rule].tasks}
    return [name for name in sets if name in tasks and (rule != "drtp" or SETS[name][1] == "tanh")]


def best(figures: dict[float, list[float]]) -> float:
    """The rate to take, as the module's docstring has it."""
    worst = max(map(min, figures.values()))
    return min(lr for lr, shares in figures.items() if min(shares) >= worst - 0.1)


def main() -> None:
    """Train all there is to be trained, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    parser.add_argument("--optimizers", nargs="+", default=list(GRIDS), choices=list(GRIDS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--json", type=Path, help="a file for all gains")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gains: dict[str, Any] = {}
    for rule in arguments.rules:
        for optimizer in arguments.optimizers:
            sets = fit_for(rule, arguments.sets)
            reached = {lr: [gain(rule, optimizer, lr, name) for name in sets] for lr in GRIDS[optimizer]}
            most = [max(column) or 1.0 for column in zip(*reached.values(), strict=True)]
            figures = {lr: [one / top for one, top in zip(row, most, strict=True)] for lr, row in reached.items()}
            print(f"{rule}, {optimizer}: {best(figures):g}")
            for lr, shares in figures.items():
                print(
                    f"  {lr:<8g} mean {fmean(shares):.2f}  worst {min(shares):.2f} on {sets[shares.index(min(shares))]}"
                )
            gains[f"{rule},{optimizer}"] = {name: [reached[lr][n] for lr in reached] for n, name in enumerate(sets)}
            if arguments.json:
                arguments.json.write_text(json.dumps(gains))


if __name__ == "__main__":
    main()
