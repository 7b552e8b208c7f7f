"""What is pruned is what has the lowest score, exactly as much as was asked, and the network given is left alone."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from altprop.experiment import build_model
from altprop.experiment.networks.names import Shape
from altprop.experiment.stress.masks import channel_dim, layers_of, prune_by, sparsity

IMAGE = Shape((1, 16, 16), 5)


def scores_of(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(layer.weight.shape, generator=generator) for name, layer in layers_of(model).items()}


def zeros(model):
    return {name: layer.weight == 0 for name, layer in layers_of(model).items()}


def lowest(scores, count):
    """The places of the lowest scores, one by one: (name, index)."""
    every = [(float(value), name, index) for name, one in scores.items() for index, value in enumerate(one.flatten())]
    return {(name, index) for _, name, index in sorted(every)[:count]}


@pytest.mark.parametrize("name", ["8-6", "lenet", "resnet-20", "vit-tiny"])
@pytest.mark.parametrize("amount", [0, 0.3, 0.9, 1])
def test_the_weights_with_the_lowest_scores_of_all_layers_are_pruned(name, amount):
    model = build_model(name, IMAGE)
    scores = scores_of(model)
    pruned = prune_by(model, scores, amount)
    count = round(amount * sum(one.numel() for one in scores.values()))
    threshold = torch.cat([one.flatten() for one in scores.values()]).sort().values
    for layer, there in zeros(pruned).items():
        below = scores[layer] <= threshold[count - 1] if count else torch.zeros_like(there)
        assert torch.equal(there, below)
        kept = layers_of(pruned)[layer].weight[~below]
        assert torch.equal(kept, layers_of(model)[layer].weight[~below])
    assert sparsity(pruned) == pytest.approx(amount, abs=1 / len(threshold))


def test_the_lowest_are_those_that_sorting_one_by_one_finds():
    model = build_model("8-6", Shape((7,), 3))
    scores = scores_of(model)
    found = {
        (layer, index)
        for layer, there in zeros(prune_by(model, scores, 0.4)).items()
        for index in there.flatten().nonzero().flatten().tolist()
    }
    assert found == lowest(scores, round(0.4 * (7 * 8 + 8 * 6 + 6 * 3)))


@pytest.mark.parametrize("amount", [0.25, 0.5])
def test_per_layer_each_loses_the_same_fraction(amount):
    model = build_model("8-6", Shape((4,), 4))
    scores = {name: one + number for number, (name, one) in enumerate(scores_of(model).items())}
    for name, there in zeros(prune_by(model, scores, amount, per_layer=True)).items():
        assert int(there.sum()) == round(amount * there.numel())
        assert {(name, n) for n in there.flatten().nonzero().flatten().tolist()} == lowest(
            {name: scores[name]}, int(there.sum())
        )


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("per_layer", [False, True])
def test_the_network_given_is_left_bit_for_bit(channels, per_layer):
    model = build_model("lenet", IMAGE, norm="batch").eval()
    before = copy.deepcopy(model.state_dict())
    hooks = {name: len(module._forward_pre_hooks) for name, module in model.named_modules()}
    scores = scores_of(model)
    if channels:
        scores = {name: one.flatten(1).mean(1) for name, one in scores.items()}
    pruned = prune_by(model, scores, 0.5, per_layer=per_layer)
    assert pruned is not model
    assert list(pruned.state_dict()) == list(before), "no masks and no second weights stay behind"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {name: len(module._forward_pre_hooks) for name, module in pruned.named_modules()} == hooks
    assert all(isinstance(p, nn.Parameter) for p in pruned.parameters())


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("name", ["8-6", "lenet", "vgg-like", "resnet-20"])
def test_a_pruned_channel_gives_zero_behind_its_norm(name, norm):
    """Whatever the input: its weights, its bias, and the shift of its batch norm are gone."""
    torch.manual_seed(0)
    model = build_model(name, IMAGE, norm=norm)
    for p in model.parameters():
        p.data = torch.randn_like(p) * 0.3
    model.eval()
    hidden = dict(list(layers_of(model).items())[:-1])
    scores = {layer: torch.rand(one.weight.shape[0]) for layer, one in hidden.items()}
    pruned, seen = prune_by(model, scores, 0.5), {}
    leaves = [(key, module) for key, module in pruned.named_modules() if not any(module.children())]
    for (key, module), (_, following) in pairwise(leaves):
        if key in scores:
            last = following if isinstance(following, nn.BatchNorm1d | nn.BatchNorm2d) else module
            last.register_forward_hook(lambda _m, _x, out, key=key: seen.update({key: out}))
    pruned(torch.randn(3, *IMAGE.input))
    threshold = torch.cat(list(scores.values())).sort().values
    border = threshold[round(0.5 * len(threshold)) - 1]
    assert seen.keys() == scores.keys()
    for key, out in seen.items():
        alive = out.transpose(0, 1).flatten(1).abs().amax(1) > 0
        assert torch.equal(alive, scores[key] > border)


def test_channels_of_a_transposed_convolution_are_in_its_second_dimension():
    model = build_model("conv-autoencoder", Shape((1, 6, 6), 36))
    scores = {"conv3": torch.arange(16.0)}
    weight = prune_by(model, scores, 0.25).conv3.weight
    assert (weight == 0).flatten(2).all(2).all(0).tolist() == [True] * 4 + [False] * 12
    assert channel_dim(model.conv3) == 1


def test_a_shared_weight_counts_once_and_stays_shared():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    assert list(layers_of(model)) == ["0"]
    pruned = prune_by(model, {"0": model[0].weight.detach()}, 0.5)
    assert pruned[2].weight is pruned[0].weight
    assert int((pruned[0].weight == 0).sum()) == 8


def test_layers_without_scores_stay():
    model = build_model("8-6", Shape((4,), 4))
    pruned = prune_by(model, {"linear2": torch.rand(6, 8)}, 1)
    assert [bool(there.all()) for there in zeros(pruned).values()] == [False, True, False]
