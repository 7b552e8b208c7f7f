"""What ranks weights: each criterion against its definition, in a plain loop."""

import copy

import pytest
import torch
from torch.nn import functional as F

import altprop
from altprop.experiment import RULES, InputError, build_model, make_rule
from altprop.experiment.networks.names import Shape
from altprop.experiment.seeding import seeded
from altprop.experiment.stress.criteria import CRITERIA, Subject, rank, rank_hidden_channels
from altprop.experiment.stress.masks import layers_of

SHAPE = Shape((1, 16, 16), 4)


def subject(name="6-5", rule="lfp", shape=SHAPE, **changes):
    generator = torch.Generator().manual_seed(2)
    batches = [
        (torch.randn(8, *shape.input, generator=generator), torch.randint(shape.outputs, (8,), generator=generator))
        for _ in range(3)
    ]
    parts = {
        "model": build_model(name, shape, norm="none").eval(),
        "batches": batches,
        "rule": rule,
        "outputs": shape.outputs,
        "objective": F.cross_entropy,
        "composite": "epsilon",
        "low": -3.0,
        "high": 3.0,
        "seed": 11,
        "draw": 5,
    }
    return Subject(**parts | changes)


def test_magnitude_is_the_weights():
    one = subject("lenet")
    for name, layer in layers_of(one.model).items():
        assert torch.equal(rank("magnitude", one)[name], layer.weight.detach().abs())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "drtp"])
def test_updates_are_the_mean_size_of_what_the_rule_does(rule):
    one = subject(rule=rule)
    expected = {name: torch.zeros_like(layer.weight) for name, layer in layers_of(one.model).items()}
    model = copy.deepcopy(one.model)
    with seeded(one.seed), make_rule(rule).attach(model):
        for x, y in one.batches:
            with altprop.targets(y):
                F.cross_entropy(model(x), y).backward()
            for name, layer in layers_of(model).items():
                if layer.weight.grad is not None:
                    expected[name] += layer.weight.grad.abs() / 3
                    layer.weight.grad = None
    found = rank("updates", one)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
        assert float(value.sum()) > 0 or rule == "shallow"


@pytest.mark.parametrize("by", CRITERIA)
def test_a_ranking_leaves_the_network_bit_for_bit(by):
    one = subject("lenet", rule="kp")
    before = copy.deepcopy(one.model.state_dict())
    rank(by, one)
    assert list(one.model.state_dict()) == list(before)
    assert all(torch.equal(before[name], value) for name, value in one.model.state_dict().items())
    assert all(p.grad is None for p in one.model.parameters())


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_relevance_is_the_size_of_the_mean_over_examples(composite):
    one = subject(composite=composite)
    lrp = altprop.LRP(one.model, composite)
    totals = dict.fromkeys(layers_of(one.model), 0)
    for x, y in one.batches:
        for sample, target in zip(x, y, strict=True):
            for name, R in lrp.weight_relevance(sample[None], int(target)).items():
                totals[name.removesuffix(".weight")] += R.double()
    for name, value in rank("relevance", one).items():
        torch.testing.assert_close(value, (totals[name] / 24).abs(), rtol=1e-4, atol=1e-6)


def test_relevance_of_channels_is_what_they_pass_on():
    one = subject("6-5")
    lrp = altprop.LRP(one.model, "epsilon")
    totals = 0
    for x, y in one.batches:
        totals = totals + lrp.trace(x, y)["linear1"].sum(0).double()
    found = rank_hidden_channels("relevance", one)
    assert list(found) == ["linear1", "linear2"]
    torch.testing.assert_close(found["linear1"], (totals / 24).abs(), rtol=1e-4, atol=1e-6)


def test_chance_is_the_same_for_the_same_seed_and_never_zero():
    first, again, other = (rank("random", subject(draw=draw)) for draw in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert all(float(one.min()) > 0 for one in first.values())


@pytest.mark.parametrize("by", ["magnitude", "updates"])
@pytest.mark.parametrize("name", ["6-5", "lenet", "conv-autoencoder"])
def test_a_channel_has_the_mean_score_of_its_weights_and_outputs_have_none(by, name):
    auto = name == "conv-autoencoder"
    shape = Shape((1, 6, 6), 36) if auto else SHAPE
    changes = {"objective": lambda out, y: (out**2).mean(), "rule": "backprop"} if auto else {}
    one = subject(name, shape=shape, **changes)
    weights, channels = rank(by, one), rank_hidden_channels(by, one)
    layers = layers_of(one.model)
    assert list(channels) == list(layers)[:-1]
    for key, scores in channels.items():
        weight = weights[key].transpose(0, 1) if "Transpose" in type(layers[key]).__name__ else weights[key]
        torch.testing.assert_close(scores, torch.stack([channel.mean() for channel in weight]))


def test_what_cannot_be_explained_is_an_error_with_its_reason():
    one = subject("6-5", composite="guided_backprop")
    with pytest.raises(InputError, match=r"that lfp trained cannot be ranked by relevance: .*hands gradients back"):
        rank("relevance", one)
