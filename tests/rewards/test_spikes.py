"""Rewards of spikes against loops over their formulas, and what they promise."""

import copy
import math
from itertools import product

import pytest
import torch

from altprop.rewards import SPIKE_REWARDS, FirstSpike, SpikeRate


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def rate_coded(s, y):
    """R of one sample from its spikes ``s[t][c]``."""
    T, classes = len(s), range(len(s[0]))
    R = [[0.0 for _ in classes] for _ in s]
    for t, c in product(range(T), classes):
        if c == y:
            R[t][c] = 1 - sigmoid(sum(s[k][c] for k in range(T)) - T / 2)
        else:
            R[t][c] = -s[t][c] * (1 - sigmoid(sum(abs(s[k][c] - 1) for k in range(T)) - T / 2))
    return R


def first_spike(s, y, margin=1.0):
    T, classes = len(s), range(len(s[0]))
    when = [next((t for t in range(T) if s[t][c]), T) for c in classes]
    earliest = min(when[c] for c in classes if c != y)
    R = [[0.0 for _ in classes] for _ in s]
    for t, c in product(range(T), classes):
        if c == y and t <= when[y]:
            R[t][c] = sigmoid(when[y] - earliest + margin)
        elif c != y and t == when[c]:
            R[t][c] = -sigmoid(when[y] - when[c] + margin)
    return R


ORACLES = {
    "spike-rate": (SpikeRate, rate_coded),
    "first-spike": (FirstSpike, first_spike),
    "first-spike-3": (lambda **kw: FirstSpike(3.0, **kw), lambda s, y: first_spike(s, y, 3.0)),
}


def spikes_and_labels(steps=7, samples=6, classes=4, density=0.3):
    torch.manual_seed(steps)
    spikes = torch.bernoulli(torch.full((steps, samples, classes), density, dtype=torch.float64))
    spikes[:, 0], spikes[:, 1] = 0, 1  # a silent sample, and one that never is
    return spikes.requires_grad_(), torch.arange(samples) % classes


@pytest.mark.parametrize("steps", [1, 7, 10])
@pytest.mark.parametrize("name", ORACLES)
def test_equals_the_loop_over_its_formula(name, steps):
    make, oracle = ORACLES[name]
    spikes, labels = spikes_and_labels(steps)
    each = [oracle(spikes[:, n].tolist(), int(labels[n])) for n in range(len(labels))]
    R = torch.tensor(each, dtype=torch.float64).transpose(0, 1)
    torch.testing.assert_close(make().reward(spikes.detach(), labels), R, rtol=1e-12, atol=1e-15)
    value = make()(spikes, labels)
    value.backward()
    torch.testing.assert_close(value, -R.sum() / len(labels))
    torch.testing.assert_close(spikes.grad, -R / len(labels), msg="the unit of the output is a spike")


@pytest.mark.parametrize("name", ORACLES)
def test_reductions_are_over_samples(name):
    make, _ = ORACLES[name]
    spikes, labels = spikes_and_labels()
    each = make(reduction="none")(spikes, labels)
    assert each.shape == labels.shape
    torch.testing.assert_close(each.mean(), make()(spikes, labels))
    torch.testing.assert_close(each.sum(), make(reduction="sum")(spikes, labels))
    (g,) = torch.autograd.grad(each[2], spikes)
    assert g[:, 2].any()
    assert not g[:, [0, 1, 3, 4, 5]].any()


@pytest.mark.parametrize("name", SPIKE_REWARDS)
def test_a_silent_true_neuron_is_called_on(name):
    spikes = torch.zeros(5, 1, 3)
    assert (SPIKE_REWARDS[name]().reward(spikes, torch.tensor([1]))[:, 0, 1] > 0.4).all()


@pytest.mark.parametrize("name", SPIKE_REWARDS)
def test_a_network_that_is_right_is_left_alone(name):
    spikes = torch.zeros(15, 1, 3)
    spikes[:, 0, 1] = 1
    assert SPIKE_REWARDS[name]().reward(spikes, torch.tensor([1])).abs().max() < 1e-3


@pytest.mark.parametrize("name", SPIKE_REWARDS)
def test_the_class_with_the_largest_score_is_the_one_that_is_rewarded_least(name):
    reward = SPIKE_REWARDS[name]()
    spikes = torch.zeros(9, 1, 3)
    spikes[2:, 0, 2] = spikes[5:7, 0, 0] = 1
    assert reward.scores(spikes).shape == (1, 3)
    assert reward.scores(spikes).argmax(1).tolist() == [2]
    on_true = [reward.reward(spikes, torch.tensor([c])).clamp(min=0).sum() for c in range(3)]
    assert min(on_true) == on_true[2]


def test_of_two_that_fire_first_the_busier_one_leads():
    spikes = torch.zeros(4, 1, 3)
    spikes[1, 0, 0] = spikes[1:3, 0, 2] = spikes[2:, 0, 1] = 1
    assert FirstSpike().scores(spikes).argsort(descending=True).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("name", SPIKE_REWARDS)
def test_copies_and_settings(name):
    reward = copy.deepcopy(SPIKE_REWARDS[name](reduction="sum"))
    assert "reduction='sum'" in repr(reward)


BAD_CALLS = {
    "spikes of one step": (torch.zeros(3, 4), torch.tensor([0, 1, 2]), r"\(steps, batch, classes\).*\(3, 4\)"),
    "labels for each step": (torch.zeros(5, 3, 4), torch.zeros(5, 3, dtype=torch.int64), r"shape \(3,\).*\(5, 3\)"),
    "labels as floats": (torch.zeros(5, 3, 4), torch.zeros(3), r"class indices.*float32"),
    "labels out of range": (torch.zeros(5, 3, 4), torch.tensor([0, 1, 4]), "from 0 to 3, got 0 to 4"),
    "no labels": (torch.zeros(5, 3, 4), None, "got None"),
}


@pytest.mark.parametrize("name", SPIKE_REWARDS)
@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_explained(name, case):
    spikes, labels, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        SPIKE_REWARDS[name]()(spikes, labels)
