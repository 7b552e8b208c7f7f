"""Rules learn, and more than the control does: small runs of what the documentation shows in full."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import altprop


def train(model, rule, objective, x, y, *, epochs, lr):
    generator = torch.Generator().manual_seed(0)
    with rule.attach(model):
        optimizer = torch.optim.Adam(model.parameters(), lr)
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator).split(64):
                optimizer.zero_grad()
                objective(model(x[rows]), y[rows]).backward()
                optimizer.step()
    return model.eval()


def test_lfp_with_the_regression_reward_learns_the_sine_curve():
    torch.manual_seed(0)
    x = torch.rand(1000, 1) * 2 * math.pi - math.pi
    y = torch.sin(x)
    r2 = {}
    for rule in (altprop.LFP(), altprop.Shallow()):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        train(model, rule, altprop.rewards.Regression(), x[:800], y[:800], epochs=30, lr=1e-3)
        with torch.no_grad():
            r2[type(rule)] = 1 - F.mse_loss(model(x[800:]), y[800:]).item() / y[800:].var().item()
    assert r2[altprop.LFP] >= 0.95
    assert r2[altprop.LFP] > r2[altprop.Shallow]


def test_lfp_teaches_the_hidden_layers_of_a_network_of_steps_where_backprop_cannot():
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor((images - images.mean()) / images.std(), dtype=torch.float32)
    y = torch.tensor(labels)
    torch.manual_seed(0)
    shuffled = torch.randperm(len(x))
    learn, test = shuffled[:1400], shuffled[1400:]
    accuracy = {}
    for rule in (altprop.LFP(epsilon=0.1), altprop.Shallow(), altprop.Backprop()):
        torch.manual_seed(0)
        layers = [nn.Linear(64, 128), altprop.nn.Step(), nn.Linear(128, 128), altprop.nn.Step(), nn.Linear(128, 10)]
        model = train(nn.Sequential(*layers), rule, F.cross_entropy, x[learn], y[learn], epochs=15, lr=3e-3)
        with torch.no_grad():
            accuracy[type(rule)] = (model(x[test]).argmax(1) == y[test]).float().mean().item()
    assert accuracy[altprop.LFP] > accuracy[altprop.Shallow] + 0.02
    assert abs(accuracy[altprop.Backprop] - accuracy[altprop.Shallow]) < 0.01
