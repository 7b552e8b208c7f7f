"""A small network that has learnt the handwritten digits, for tests of what explanations are worth."""

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from altprop.experiment import load_data


@cache
def trained():
    """The network, in evaluation mode, and the data."""
    data = load_data("digits")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            for rows in torch.randperm(len(data.train.x)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(data.train.x[rows]), data.train.y[rows]).backward()
                optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval(), data
