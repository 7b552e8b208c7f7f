"""Recipes that take a moment."""

import torch
from safetensors.torch import load_file

from altprop.experiment.recipes import Recipe


def toy(**sections):
    """A recipe of four steps an epoch on the circles."""
    training = {"epochs": 2, "batch_size": 250} | sections.pop("training", {})
    return Recipe(**{"data": {"name": "circles"}, "model": {"name": "4"}, "training": training, **sections})


def weights(trained):
    """All weights of a trained network, in a row."""
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()])


def without_times(history):
    """What must be the same when a training is repeated."""
    return [figures.model_copy(update={"seconds": 0.0}) for figures in history]


def same_files(one, other):
    """Whether two files of weights hold the same, bit for bit."""
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
