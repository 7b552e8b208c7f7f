"""The networks by name: what they hold, that they repeat, and what they cannot take."""

import pytest
import torch
from torch import nn

from altprop.experiment import ACTIVATIONS, MODELS, InputError, build_model
from altprop.experiment.networks.names import Shape, known_models

IMAGE, VECTOR = Shape((1, 16, 16), 5), Shape((7,), 3)
ITSELF = Shape((1, 6, 5), 30)
PLAIN = ("lenet", "vgg-like")
RESIDUAL = ("resnet-20", "resnet-56")


def same(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", [*PLAIN, "6", "6-4"])
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
        shape = Shape(IMAGE.input, 256) if name == "conv-autoencoder" else IMAGE
        with pytest.raises(InputError, match=f"{name!r} knows no layer norm: take norm 'batch' or 'none'"):
            build_model(name, shape, norm="layer")


@pytest.mark.parametrize("name", [*PLAIN, "6-4", "resnet-20", "torchvision:squeezenet1_1", "timm:test_resnet"])
def test_initial_weights_depend_on_the_seed_alone(name):
    shape = Shape((1, 32, 32), 5)
    torch.manual_seed(1)
    first, before = build_model(name, shape, seed=3), torch.get_rng_state()
    torch.manual_seed(2)
    assert same(first, build_model(name, shape, seed=3))
    assert not same(first, build_model(name, shape, seed=4))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before), "torch's own random state is not moved"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet", (1, 8, 8)), ("lenet", (3, 32, 15)), ("lenet", (40,)), ("vgg-like", (1, 4, 4)), ("resnet-20", (3, 3, 8))],
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


@pytest.mark.parametrize(
    "name", ["lenett", "256-", "autoencoder", "autoencoder-0", "torchvision", "0-4", "-3", "256,256", ""]
)
def test_an_unknown_name_gives_what_is_known(name):
    with pytest.raises(InputError, match=f"no model '{name}'.*Known: lenet, vgg-like, .*hidden widths such as"):
        build_model(name, VECTOR)


@pytest.mark.parametrize(
    ("name", "meant"), [("lenett", "lenet"), ("LeNet-5", "lenet"), ("vgg", "vgg-like"), ("resnet20", "resnet-20")]
)
def test_the_closest_match_of_a_model_is_named(name, meant):
    with pytest.raises(InputError, match=f"no model '{name}'. Did you mean '{meant}'"):
        build_model(name, VECTOR)


def test_the_closest_match_of_an_activation_is_named():
    with pytest.raises(InputError, match=r"no activation 'leaky_relu'\. Did you mean 'leaky-relu'"):
        build_model("4", VECTOR, activation="leaky_relu")


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        # 32 maps of 5×5, halved to 14×14; 64 and 256 maps of 3×3, halved twice to 8×8.
        ("conv-32-fc-1000", (1, 28, 28), (832, 6_273_000, 10_010)),
        ("conv-64-256-fc-2000", (3, 32, 32), (1_792, 147_712, 32_770_000, 20_010)),
    ],
)
def test_the_networks_of_drtp_have_the_layers_of_the_paper(name, shape, parameters):
    layers = [layer for layer in build_model(name, Shape(shape, 10)) if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert tuple(sum(p.numel() for p in layer.parameters()) for layer in layers) == parameters


@pytest.mark.parametrize(("name", "published"), [("resnet-20", 269_722), ("resnet-56", 853_018)])
def test_residual_networks_have_the_parameters_of_the_paper(name, published):
    """He et al., table 6: 0.27 and 0.85 million; the shortcuts have none (option A)."""
    network = build_model(name, Shape((3, 32, 32), 10))
    assert sum(p.numel() for p in network.parameters()) == published
    weights = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(weights) == int(name.removeprefix("resnet-"))


def test_a_shortcut_takes_each_second_pixel_and_adds_channels_of_zeros():
    block = build_model("resnet-20", Shape((3, 32, 32), 10)).get_submodule("stage2_block1")
    x = torch.randn(2, 16, 7, 8)
    short = block.shortcut(x)
    assert short.shape == (2, 32, 4, 4)
    for channel in range(32):
        expected = x[:, channel - 8, ::2, ::2] if 8 <= channel < 24 else torch.zeros(2, 4, 4)
        assert torch.equal(short[:, channel], expected)


@pytest.mark.parametrize("activation", ["tanh", "step"])
def test_residual_networks_have_the_activation_asked_for_throughout(activation):
    network = build_model("resnet-20", IMAGE, activation=activation)
    acts = [m for m in network.modules() if isinstance(m, tuple(ACTIVATIONS.values()))]
    assert len(acts) == 1 + 2 * 9
    assert {type(m) for m in acts} == {ACTIVATIONS[activation]}
    assert network(torch.randn(2, *IMAGE.input)).shape == (2, 5)


def test_an_autoencoder_goes_down_to_its_code_and_back():
    linear = [m for m in build_model("autoencoder-12-4", ITSELF) if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(30, 12), (12, 4), (4, 12), (12, 30)]


@pytest.mark.parametrize("size", [(4, 4), (6, 5), (5, 6), (7, 9), (28, 28)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_convolutional_autoencoder_gives_a_vector_for_images_of_any_size(size, norm):
    shape = (2, *size)
    outputs = 2 * size[0] * size[1]
    network = build_model("conv-autoencoder", Shape(shape, outputs), norm=norm)
    assert network(torch.randn(3, *shape)).shape == (3, outputs)


@pytest.mark.parametrize("name", ["conv-autoencoder", "autoencoder-8"])
def test_an_autoencoder_is_for_reconstruction(name):
    with pytest.raises(InputError, match=r"gives its inputs back, 256 numbers, but is asked for 5.*'reconstruction'"):
        build_model(name, IMAGE)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("name", [*PLAIN, "6-4", "autoencoder-8-4", "conv-autoencoder"])
def test_dropout_comes_behind_each_hidden_activation(name, norm):
    shape = Shape(IMAGE.input, 256) if "autoencoder" in name else IMAGE
    layers = list(build_model(name, shape, norm=norm, dropout=0.25))
    acts = [n for n, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
    assert all(isinstance(layers[n + 1], nn.Dropout) and layers[n + 1].p == 0.25 for n in acts)
    assert sum(isinstance(layer, nn.Dropout) for layer in layers) == len(acts) > 0
    assert same(build_model(name, shape, norm=norm), build_model(name, shape, norm=norm, dropout=0.25))


@pytest.mark.parametrize("name", [*RESIDUAL, "vit-tiny", "lif-4"])
def test_dropout_is_refused_where_there_is_no_place_for_it(name):
    with pytest.raises(InputError, match=f"{name!r} has no place for dropout: leave dropout at 0"):
        build_model(name, IMAGE, activation="atan" if name == "lif-4" else "relu", dropout=0.1)


@pytest.mark.parametrize("dropout", [1, -0.1, float("nan")])
def test_dropout_is_a_probability(dropout):
    with pytest.raises(InputError, match="probability from 0 to below 1"):
        build_model("4", VECTOR, dropout=dropout)


def test_only_networks_of_a_hub_are_pretrained():
    with pytest.raises(InputError, match=r"'lenet' has no published weights.*torchvision:NAME or timm:NAME"):
        build_model("lenet", IMAGE, pretrained=True)


def test_every_network_is_listed():
    names = {name for name, _, _ in known_models()}
    assert names >= {*MODELS, "256-256", "vit-tiny", "lif-mlp", "torchvision:NAME", "timm:NAME"}
