"""Objectives that need no derivative, called like a loss: ``reward(output, target).backward()``.

A reward R judges each output o of a network. R > 0 asks for more of what the output says (further from zero, on the
side where it is), R < 0 for less. It may be any function at all: a count, a rule, a person's opinion. What it hands
back to the network, in the place of a loss's gradient, is

    ∂/∂o := −R / (o + ε·sign o)        (sign 0 := 1; times 1/N for ``reduction="mean"``, N the number of samples)

the reward per unit of output, with a minus since optimizers descend. For R = o·c that is −c, and no division is made:
so :class:`Softmax` has the gradient of cross-entropy, and :class:`Regression` that of half the squared error. Rewards
work with every rule, and without any. Where a reward's formula has sign(o), an output of exactly zero gets none.

The value is minus the mean reward. Rewards are computed in float32 at least, whatever the dtype of the output; the
value keeps that dtype, and the gradient has the output's.

Reference:
    Weber et al., "Efficient and Flexible Neural Network Training through Layer-wise Feedback Propagation", TMLR 2025.
"""

from altprop.rewards.classes import (
    BinarySigmoid,
    BoundedSoftmax,
    CorrectClassification,
    Misclassification,
    Sigmoid,
    Softmax,
)
from altprop.rewards.reward import ProportionalReward, Reward
from altprop.rewards.spikes import FirstSpike, SpikeRate, SpikeReward
from altprop.rewards.values import MaximizeNeuron, MinimizeNeuron, Regression

__all__ = [
    "REWARDS",
    "SPIKE_REWARDS",
    "BinarySigmoid",
    "BoundedSoftmax",
    "CorrectClassification",
    "FirstSpike",
    "MaximizeNeuron",
    "MinimizeNeuron",
    "Misclassification",
    "ProportionalReward",
    "Regression",
    "Reward",
    "Sigmoid",
    "Softmax",
    "SpikeRate",
    "SpikeReward",
]

REWARDS: dict[str, type[Reward]] = {
    "softmax": Softmax,
    "sigmoid": Sigmoid,
    "binary-sigmoid": BinarySigmoid,
    "bounded-softmax": BoundedSoftmax,
    "correct-classification": CorrectClassification,
    "misclassification": Misclassification,
    "maximize-neuron": MaximizeNeuron,
    "minimize-neuron": MinimizeNeuron,
    "regression": Regression,
}
"""Every reward that follows from output and target, by the name that the command line knows it by."""

SPIKE_REWARDS: dict[str, type[SpikeReward]] = {"spike-rate": SpikeRate, "first-spike": FirstSpike}
"""The rewards of spikes over time, likewise by name."""
