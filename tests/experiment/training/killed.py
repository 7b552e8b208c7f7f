"""A training that is killed: what its processes run, with all imported beforehand."""

import torch

from altprop.experiment.data.opening import open_data
from altprop.experiment.recipes import Recipe
from altprop.experiment.training.fit import fit
from altprop.experiment.training.watching import Watch

RECIPE = Recipe(
    data={"name": "digits", "validation": 0.1},
    model={"name": "32", "dropout": 0.2},
    rule={"name": "lfp"},
    optimizer={"name": "adam"},
    scheduler={"name": "cosine"},
    training={"epochs": 12},
    checkpoints={"every": 4, "every_steps": 7},
    track={"loggers": ()},
)

torch.set_num_threads(1)
SPLITS = open_data(RECIPE.data)
# Once before processes are forked: what is imported late is there then.
fit(RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"epochs": 1})}), seed=0, splits=SPLITS)


class Begun(Watch):
    """Says when the training goes on: also one that is done, for there may be a kill after its last step."""

    def __init__(self, event):
        self._event = event

    def reach(self, steps):
        self._event.set()


def train(folder, begun):
    """Go on with the training."""
    fit(RECIPE, seed=0, splits=SPLITS, folder=folder, resume=True, watch=Begun(begun))
