"""altprop.LFP hands back what lfprop 1.0.0 does on spiking networks of the same weights. Run by ``make parity``."""

import pytest
import torch
from lfprop.model.activations import Step
from lfprop.model.spiking_networks import SpikingLayer
from lfprop.propagation.propagator_snn import LFPSNNEpsilonComposite
from lfprop.rewards.reward_functions import SnnCorrectClassRewardSpikesRateCoded
from snntorch import Leaky
from torch import nn

import altprop

STEPS, SAMPLES, EPSILON = 15, 4, 1e-6
SIZES = {2: [(12, 9), (9, 5)], 3: [(12, 9), (9, 7), (7, 5)]}


def neurons_and_sums(layers):
    torch.manual_seed(0)
    sums = [nn.Linear(*size).double() for size in SIZES[layers]]
    for weighted_sum in sums:
        with torch.no_grad():
            weighted_sum.weight.mul_(3)  # so that they fire
    return sums, [Leaky(0.9, spike_grad=Step(), init_hidden=True) for _ in sums]


def spikes_over_time(model, x):
    return torch.stack([model(current) for current in x])


@pytest.mark.parametrize("layers", SIZES)
def test_a_lif_mlp_gets_lfprops_feedback_over_15_steps(layers):
    torch.manual_seed(1)
    x = 2 * torch.rand(STEPS, SAMPLES, 12, dtype=torch.float64)
    reward = torch.randn(STEPS, SAMPLES, 5, dtype=torch.float64)

    sums, neurons = neurons_and_sums(layers)
    theirs = nn.Sequential(*(SpikingLayer(*pair) for pair in zip(sums, neurons, strict=True)))
    with LFPSNNEpsilonComposite(epsilon=EPSILON).context(theirs) as modified:
        x.requires_grad_()
        spikes = spikes_over_time(modified, x)
        (expected_at_x,) = torch.autograd.grad(spikes, x, reward)
    assert 0.05 < spikes.mean() < 0.95
    expected = [parameter.feedback for layer in sums for parameter in layer.parameters()]

    sums, neurons = neurons_and_sums(layers)
    ours = nn.Sequential(*(module for pair in zip(sums, neurons, strict=True) for module in pair))
    x.grad = None
    with altprop.LFP(EPSILON, strict=True).attach(ours):
        assert torch.equal(spikes_over_time(ours, x), spikes)
        for neuron in neurons:
            neuron.reset_mem()
        spikes_over_time(ours, x).backward(-reward)
    found = [-parameter.grad for layer in sums for parameter in layer.parameters()]

    for value, own in [(expected_at_x, -x.grad * x.detach()), *zip(expected, found, strict=True)]:
        error = (own - value).norm() / value.norm()
        assert error < 1e-5, f"relative error {error:.1e}"


@pytest.mark.parametrize("steps", [1, 10])
def test_the_rate_coded_reward_is_lfprops(steps):
    """For an even number of steps; for an odd one lfprop rounds T/2 down."""
    torch.manual_seed(2)
    spikes, labels = torch.bernoulli(torch.full((2 * steps, 6, 4), 0.4)), torch.arange(6) % 4
    expected = SnnCorrectClassRewardSpikesRateCoded(device="cpu")(spikes, labels)
    torch.testing.assert_close(altprop.rewards.SpikeRate().reward(spikes, labels), expected)
