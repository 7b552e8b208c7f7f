"""Rewards as loops over their formulas in plain Python, one output at a time."""

import math

import numpy as np
import torch

from altprop import rewards

EPSILON = 1e-6


def sign(o):
    return (o > 0) - (o < 0)


def sigmoid(o):
    return 1 / (1 + math.exp(-o))


def softmax(o):
    return [math.exp(value) / sum(math.exp(other) for other in o) for value in o]


def onehot(label, o):
    return [float(k == label) for k in range(len(o))]


def bounded(p, lower, upper):
    return 1.0 if p > upper else 0.0 if p < lower else p


# Each oracle takes the outputs of one sample, as a list, and its target, and gives the list of rewards.
ORACLES = {
    "softmax": (
        rewards.Softmax,
        lambda o, y: [a * (b - p) for a, b, p in zip(o, onehot(y, o), softmax(o), strict=True)],
    ),
    "sigmoid": (
        rewards.Sigmoid,
        lambda o, y: [a * (b - sigmoid(a)) for a, b in zip(o, onehot(y, o), strict=True)],
    ),
    "bounded-softmax": (
        lambda **kw: rewards.BoundedSoftmax(0.2, 0.6, **kw),
        lambda o, y: [a * (b - bounded(p, 0.2, 0.6)) for a, b, p in zip(o, onehot(y, o), softmax(o), strict=True)],
    ),
    "bounded-softmax-sign": (
        lambda **kw: rewards.BoundedSoftmax(0.2, 0.6, True, **kw),
        lambda o, y: [
            sign(a) * (b - bounded(p, 0.2, 0.6)) for a, b, p in zip(o, onehot(y, o), softmax(o), strict=True)
        ],
    ),
    "correct-classification": (
        rewards.CorrectClassification,
        lambda o, y: [sign(a) if k == y and a == max(o) else 0 for k, a in enumerate(o)],
    ),
    "misclassification": (
        rewards.Misclassification,
        lambda o, y: [-sign(a) if a > o[y] else 0 for a in o],
    ),
    "maximize-neuron": (rewards.MaximizeNeuron, lambda o, y: [sign(a) * (1 - sigmoid(a)) for a in o]),
    "minimize-neuron": (rewards.MinimizeNeuron, lambda o, y: [-sign(a) * (1 - sigmoid(a)) for a in o]),
    "maximize-neuron-2": (
        lambda **kw: rewards.MaximizeNeuron(2, **kw),
        lambda o, y: [sign(a) * (1 - sigmoid(a)) if k == 2 else 0 for k, a in enumerate(o)],
    ),
    "minimize-neuron-last": (
        lambda **kw: rewards.MinimizeNeuron(-1, **kw),
        lambda o, y: [-sign(a) * (1 - sigmoid(a)) if k == len(o) - 1 else 0 for k, a in enumerate(o)],
    ),
}


def samples_of(output):
    """The samples of an output (N, C, ...), as indices of its other dimensions."""
    return list(np.ndindex(*output.shape[:1], *output.shape[2:]))


def along_classes(index):
    return (index[0], slice(None), *index[1:])


def loop(oracle, output, target):
    """R by the oracle, sample after sample."""
    expected = torch.zeros_like(output)
    for index in samples_of(output):
        o = output[along_classes(index)].tolist()
        expected[along_classes(index)] = torch.tensor(oracle(o, target[index].item()), dtype=output.dtype)
    return expected


def divided(R, o):
    """R / (o + ε·sign o), with sign 0 := 1."""
    return R / (o + EPSILON * torch.where(o < 0, -1.0, 1.0))


def logits_and_labels(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(shape, dtype=torch.float64, generator=generator)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return output.requires_grad_(), labels


def gradient_of(value, output):
    (g,) = torch.autograd.grad(value, output)
    return g
