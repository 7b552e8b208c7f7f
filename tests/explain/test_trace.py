"""Relevance within the network: layers, concepts, neurons; and networks with several inputs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import Epsilon


class Twice(nn.Module):
    """One ReLU that runs twice, in place; a module that never runs."""

    def __init__(self, in_place=True):
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.two = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3, bias=False)
        self.relu = nn.ReLU(in_place)
        self.double()

    def forward(self, x):
        return self.head(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3)))


def image():
    torch.manual_seed(1)
    return torch.randn(2, 2, 5, 5, dtype=torch.float64)


EXACT = Epsilon(1e-12)


def test_layers_come_in_the_order_in_which_they_ran():
    layers = altprop.LRP(Twice(), "epsilon").trace(image(), target=1)
    assert list(layers) == ["one", "relu", "two", "relu#2", "head"]
    assert list(altprop.LRP(Twice(), "epsilon").trace(image(), target=1, modules=["two", "relu"])) == [
        "relu", "two", "relu#2",
    ]  # fmt: skip


def test_every_layer_has_the_relevance_that_is_explained():
    model, x = Twice(), image()
    output = model(x)[:, 1].detach()
    for name, R in altprop.LRP(model, EXACT).trace(x, target=1).items():
        torch.testing.assert_close(R.flatten(1).sum(1), output, rtol=1e-4, atol=1e-6, msg=name)


def test_outputs_that_are_overwritten_have_their_own_relevance():
    found, expected = (altprop.LRP(Twice(way), "epsilon").trace(image(), target=1) for way in (True, False))
    for name, R in found.items():
        torch.testing.assert_close(R, expected[name])


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("name, channels", [("one", 4), ("two", 4)])
def test_concepts_add_up_to_the_whole(name, channels, in_place):
    lrp = altprop.LRP(Twice(in_place), "epsilon")
    parts = [lrp.attribute(image(), target=1, concepts={name: channel}) for channel in range(channels)]
    torch.testing.assert_close(sum(parts), lrp.attribute(image(), target=1))
    pair = lrp.attribute(image(), target=1, concepts={name: [0, 2]})
    torch.testing.assert_close(pair, parts[0] + parts[2])
    assert parts[0].any() and not parts[0].equal(parts[2])


@pytest.mark.parametrize("in_place", [True, False])
def test_a_channel_is_explained_like_the_model_that_ends_there(in_place):
    model, x = Twice(in_place), image()
    found = altprop.LRP(model, "epsilon").attribute(x, target=2, layer="two")
    upto = nn.Sequential(model.one, model.relu, model.two)
    seed = torch.zeros_like(upto(x))
    seed[:, 2] = upto(x)[:, 2].detach()
    torch.testing.assert_close(found, altprop.LRP(upto, "epsilon").attribute(x, target=seed))


def test_a_neuron_is_explained_like_the_model_that_ends_there():
    model, x = Twice(), image()
    lrp = altprop.LRP(model, "epsilon")
    upto = nn.Sequential(model.one, model.relu, model.two)
    expected = altprop.LRP(upto, "epsilon").attribute(x, target=(2, 1, 3))
    torch.testing.assert_close(lrp.attribute(x, target=(2, 1, 3), layer="two"), expected)
    assert list(lrp.trace(x, target=2, layer="two", modules=["one", "relu"])) == ["one", "relu", "relu#2"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layer": "tow"}, "no module 'tow'. Did you mean 'two'"),
        ({"layer": "unused"}, "'unused' did not run"),
        ({"concepts": {"nowhere": 1}}, "no module 'nowhere'"),
        ({"concepts": {"two": 9}}, "concepts .9. of 'two' are out of range: it has 4 channels"),
        ({"layer": "two", "target": 4}, "target 4 is out of range"),
    ],
)
def test_names_and_channels_that_are_not_there(options, message):
    with pytest.raises(ValueError, match=message):
        altprop.LRP(Twice(), "epsilon").attribute(image(), **({"target": 1} | options))


class Inputs(nn.Module):
    """Two inputs, a number and a switch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(3, 4, bias=False), nn.Linear(5, 4, bias=False)

    def forward(self, a, b, factor=1.0, negative=False):
        z = F.relu(self.one(a)) + F.relu(self.two(b)) * factor
        return -z if negative else z


def test_several_inputs_share_the_relevance():
    model, a, b = Inputs(), torch.randn(2, 3), torch.randn(2, 5)
    lrp = altprop.LRP(model, "epsilon")
    R, delta = lrp.attribute((a, b), target=1, additional_forward_args=(2.0, True), return_convergence_delta=True)
    assert isinstance(R, tuple) and [part.shape for part in R] == [a.shape, b.shape]
    output = model(a, b, 2.0, True)[:, 1].detach()
    torch.testing.assert_close(R[0].sum(1) + R[1].sum(1) + delta, output)
    torch.testing.assert_close(delta, torch.zeros(2), atol=1e-3, rtol=0)
    named = lrp.attribute({"b": b, "a": a}, target=1, additional_forward_args={"factor": 2.0, "negative": True})
    assert named["a"].equal(R[0]) and named["b"].equal(R[1])


def test_inputs_that_do_not_count_have_none():
    class Ignores(nn.Module):
        def forward(self, a, b):
            return a * 2

    R = altprop.LRP(Ignores(), "epsilon").attribute((torch.randn(2, 3), torch.randn(2, 5)), target=0)
    assert R[0].any() and R[1].equal(torch.zeros(2, 5))


@pytest.mark.parametrize(
    "inputs, options, error, message",
    [
        ((torch.randn(2, 3), "text"), {}, TypeError, "LRP explains tensors, got str among the inputs"),
        (
            {"a": torch.randn(2, 3)},
            {"additional_forward_args": (1,)},
            TypeError,
            "is a mapping of keyword arguments too",
        ),
        ((torch.randn(2, 3), torch.arange(2)), {}, ValueError, "integer input was not looked up in an embedding"),
    ],
)
def test_inputs_that_cannot_be_explained(inputs, options, error, message):
    class First(nn.Module):
        def forward(self, a, b=None):
            return a * 1.0

    with pytest.raises(error, match=message):
        altprop.LRP(First(), "epsilon").attribute(inputs, target=0, **options)


@pytest.mark.parametrize("lost", [lambda x: x.detach() * 2, torch.no_grad()(lambda x: x * 2)])
def test_a_path_that_is_cut_is_explained(lost):
    class Cut(nn.Module):
        def forward(self, x):
            return lost(x)

    with pytest.raises(ValueError, match="does not depend on the inputs in a way that can be followed"):
        altprop.LRP(Cut(), "epsilon").attribute(torch.randn(2, 3))


@pytest.mark.parametrize("target", [-2, torch.tensor(6), [6, 6], torch.tensor([-2, 6]), (6,)], ids=repr)
def test_a_channel_is_named_in_every_way(target):
    conv = nn.Conv1d(2, 8, 3, bias=False)
    lrp, x = altprop.LRP(nn.Sequential(conv, nn.Flatten(), nn.Linear(24, 2)), "epsilon"), torch.randn(2, 2, 5)
    assert lrp.attribute(x, target, layer="0").equal(lrp.attribute(x, 6, layer="0"))


def test_concepts_count_from_the_end():
    lrp = altprop.LRP(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "epsilon")
    x = torch.randn(2, 4)
    assert lrp.attribute(x, 1, concepts={"0": [-1, 2]}).equal(lrp.attribute(x, 1, concepts={"0": [7, 2]}))
