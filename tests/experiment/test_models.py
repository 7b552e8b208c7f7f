"""The networks by name: what they hold, that they repeat, and what they cannot take."""

import pytest
import torch
from torch import nn

from altprop.experiment import ACTIVATIONS, MODELS, InputError, build_model
from altprop.experiment.models import Shape

IMAGE, VECTOR = Shape((1, 16, 16), 5), Shape((7,), 3)


def same(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", [*MODELS, "6", "6-4"])
def test_every_network_has_the_outputs_activation_and_norm_asked_for(name, activation, norm):
    model = build_model(name, IMAGE, activation=activation, norm=norm)
    assert model(torch.randn(2, *IMAGE.input)).shape == (2, IMAGE.outputs)
    layers = [type(layer) for layer in model]
    weights = sum(issubclass(layer, nn.Linear | nn.Conv2d) for layer in layers)
    assert layers.count(ACTIVATIONS[activation]) == weights - 1
    norms = [n for n, layer in enumerate(layers) if issubclass(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert bool(norms) == (norm == "batch")
    assert all(layers[n + 1] is ACTIVATIONS[activation] for n in norms)


def test_widths_are_hidden_widths():
    linear = [layer for layer in build_model("12-5", VECTOR) if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(7, 12), (12, 5), (5, 3)]


def test_layer_norm_is_for_fully_connected_networks():
    assert any(isinstance(layer, nn.LayerNorm) for layer in build_model("12", VECTOR, norm="layer"))
    for name in MODELS:
        with pytest.raises(InputError, match=f"{name!r} knows no layer norm: take norm 'batch' or 'none'"):
            build_model(name, IMAGE, norm="layer")


@pytest.mark.parametrize("name", [*MODELS, "6-4"])
def test_initial_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    first, before = build_model(name, IMAGE, seed=3), torch.get_rng_state()
    torch.manual_seed(2)
    assert same(first, build_model(name, IMAGE, seed=3))
    assert not same(first, build_model(name, IMAGE, seed=4))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before), "torch's own random state is not moved"


@pytest.mark.parametrize(
    ("name", "shape"), [("lenet", (1, 8, 8)), ("lenet", (3, 32, 15)), ("lenet", (40,)), ("vgg-like", (1, 4, 4))]
)
def test_images_that_are_too_small_are_refused_with_a_remedy(name, shape):
    size = "×".join(map(str, shape))
    with pytest.raises(InputError, match=f"{name!r} takes images of at least .* shape {size}.*hidden widths instead"):
        build_model(name, Shape(shape, 10))


@pytest.mark.parametrize(("name", "side"), [("lenet", 16), ("vgg-like", 8)])
@pytest.mark.parametrize("more", [0, 3])
def test_images_of_the_least_size_and_odd_ones_are_taken(name, side, more):
    shape = (2, side + more, side)
    assert build_model(name, Shape(shape, 4))(torch.zeros(1, *shape)).shape == (1, 4)


@pytest.mark.parametrize("name", ["lenett", "256-", "0-4", "-3", "256,256", ""])
def test_an_unknown_name_gives_what_is_known(name):
    with pytest.raises(InputError, match=f"no model '{name}'.*Known: lenet, vgg-like, hidden widths such as"):
        build_model(name, VECTOR)


@pytest.mark.parametrize(("name", "meant"), [("lenett", "lenet"), ("LeNet-5", "lenet"), ("vgg", "vgg-like")])
def test_the_closest_match_of_a_model_is_named(name, meant):
    with pytest.raises(InputError, match=f"no model '{name}'. Did you mean '{meant}'"):
        build_model(name, VECTOR)


def test_the_closest_match_of_an_activation_is_named():
    with pytest.raises(InputError, match=r"no activation 'leaky_relu'\. Did you mean 'leaky-relu'"):
        build_model("4", VECTOR, activation="leaky_relu")
