"""A comparison that is killed: what its processes run, with all imported beforehand."""

import os
import signal

import torch

import altprop.experiment.reports.study
from altprop.experiment import Recipe, compare
from altprop.experiment.training.watching import Watch

RECIPE = Recipe(
    data="circles",
    model={"name": "4", "dropout": 0.2},
    rule=["lfp", "kp"],
    optimizer={"lr_grid": [0.1, 0.3]},
    training={"epochs": 3, "batch_size": 250, "seeds": 2},
    checkpoints={"every_steps": 3},
    track={"loggers": (), "metrics": ("bp_cosine",)},
)

torch.set_num_threads(1)
compare(data="circles", model="4", epochs=1, batch_size=500, seeds=1, rules="lfp", out=None)


class Killed(Watch):
    """SIGKILL after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def advance(self):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def go_on(out, steps):
    """Go on with the comparison, for so many steps, without the pictures at its end."""
    altprop.experiment.reports.study.write_report = lambda *_: None
    compare(RECIPE, out=out, name="mine", resume=True, watch=Killed(steps))
