"""A spiking network learns handwritten digits: by LFP, whose neurons are hard steps, and by surrogate gradients.

pip install -e '.[snn]' scikit-learn
python examples/spiking_digits.py
"""

import argparse

import torch
from sklearn.datasets import load_digits
from snntorch import Leaky
from torch import nn

import altprop
from altprop.nn.activations import step


def network(spike_grad):
    neuron = {"beta": 0.9, "spike_grad": spike_grad, "init_hidden": True}
    return altprop.nn.SpikingSequential(
        nn.Linear(64, 300), Leaky(**neuron), nn.Linear(300, 300), Leaky(**neuron), nn.Linear(300, 10), Leaky(**neuron),
        steps=15,
    )  # fmt: skip


def train(model, rule, data, epochs):
    x, y, x_test, y_test = data
    reward = altprop.rewards.SpikeRate()
    rule.attach(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            reward(model(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (reward.scores(model(x_test)).argmax(1) == y_test).float().mean()
        print(f"{rule!r:12} epoch {epoch:2}: accuracy {accuracy:.3f}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=10)
epochs = parser.parse_args().epochs

pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor((pixels - pixels.mean()) / pixels.std(), dtype=torch.float32), torch.tensor(digits)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
x, y = x[order], y[order]
data = x[:1437], y[:1437], x[1437:], y[1437:]

torch.manual_seed(0)
train(network(step), altprop.LFP(), data, epochs)  # no neuron has a derivative
torch.manual_seed(0)
train(network(None), altprop.Backprop(), data, epochs)  # snntorch's surrogate gradient in every neuron
torch.manual_seed(0)
train(network(None), altprop.Shallow(), data, epochs)  # the control: the last layer alone
