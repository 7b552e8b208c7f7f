"""Networks of torchvision and timm: the layers that are replaced, their weights, and what is refused."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from altprop.experiment import InputError, build_model
from altprop.experiment.networks.names import Shape

COLOUR, GREY = Shape((3, 32, 32), 5), Shape((1, 32, 32), 5)
SMALL = "torchvision:shufflenet_v2_x0_5"
FILE = "shufflenetv2_x0.5-f707e7126e.pth"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and a folder of weights that is empty."""

    def refuse(*_, **__):
        raise URLError("no network")

    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


@pytest.mark.parametrize(
    "name", [SMALL, "torchvision:squeezenet1_1", "torchvision:mobilenet_v3_small", "timm:test_resnet"]
)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_network_fits_the_data(name, channels):
    network = build_model(name, Shape((channels, 32, 40), 7))
    assert network.training
    assert network(torch.randn(2, channels, 32, 40)).shape == (2, 7)


def test_auxiliary_outputs_are_left_out():
    assert build_model("torchvision:googlenet", COLOUR)(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_all_but_the_last_layer_is_as_torchvision_makes_it():
    network, published = build_model("torchvision:resnet18", COLOUR), torchvision.models.resnet18()
    same = {name for name, module in published.named_modules() if repr(module) == repr(network.get_submodule(name))}
    assert {name for name, _ in published.named_modules()} - same == {"", "fc"}


def put_weights(folder):
    folder.mkdir(exist_ok=True)
    published = torchvision.models.shufflenet_v2_x0_5()
    torch.save(published.state_dict(), folder / FILE)
    return published


def test_published_weights_are_taken_from_the_place_that_the_error_names(offline):
    with pytest.raises(InputError, match=r"could not be downloaded.*no network.*put it at .*pretrained off") as error:
        build_model(SMALL, COLOUR, pretrained=True)
    assert f"put it at {offline / FILE};" in str(error.value)
    published = put_weights(offline).state_dict()
    network = build_model(SMALL, COLOUR, pretrained=True).state_dict()
    changed = {name for name in published if not torch.equal(published[name], network[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_a_pretrained_network_sees_a_grey_image_as_the_published_one_sees_it_in_colour(offline):
    published, network = put_weights(offline), build_model(SMALL, GREY, pretrained=True)
    published.fc = network.fc
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(network.eval()(x), published.eval()(x.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4)


def test_published_weights_are_not_for_two_channels(offline):
    put_weights(offline)
    with pytest.raises(InputError, match="colour or in grey, but inputs have 2 channels: leave pretrained off"):
        build_model(SMALL, Shape((2, 32, 32), 5), pretrained=True)


def test_timm_without_a_network_names_the_folder_for_its_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"timm:test_resnet could .*hf download timm/test_re") as error:
        build_model("timm:test_resnet", COLOUR, pretrained=True)
    assert str(tmp_path / "models--timm--test_resnet.r160_in1k") in str(error.value)


@pytest.mark.parametrize("name", [SMALL, "timm:test_resnet"])
@pytest.mark.parametrize("option", [{"activation": "tanh"}, {"norm": "batch"}, {"dropout": 0.1}])
def test_a_published_network_keeps_its_activations_norms_and_dropout(name, option):
    key = next(iter(option))
    with pytest.raises(InputError, match=f"{name!r} is taken as it was published: leave {key} at"):
        build_model(name, COLOUR, **option)


@pytest.mark.parametrize(
    ("name", "shape", "complaint"),
    [
        ("torchvision:vit_b_16", (3, 32, 32), r"cannot take images of 3×32×32: Wrong image height.*larger ones"),
        ("timm:test_vit", (1, 8, 8), r"cannot take images of 1×8×8: Input height"),
        ("torchvision:alexnet", (3, 8, 8), r"cannot take images of 3×8×8: .*too small"),
        (SMALL, (64,), r"takes images, but inputs have the shape 64"),
        ("torchvision:resnet19", (3, 32, 32), r"no torchvision model 'resnet19'. Did you mean 'resnet18'"),
        ("torchvision:fcn_resnet50", (3, 32, 32), r"no torchvision model 'fcn_resnet50'"),
        ("timm:test_resnett", (3, 32, 32), r"no timm model 'test_resnett'. Did you mean 'test_resnet'"),
    ],
)
def test_what_a_hub_does_not_have_or_take_is_named(name, shape, complaint):
    with pytest.raises(InputError, match=complaint):
        build_model(name, Shape(shape, 5))


def test_without_timm_its_extra_is_named(monkeypatch):
    monkeypatch.setattr("altprop.experiment.networks.hub.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs timm, which is not installed.*pip install .*\[timm\]"):
        build_model("timm:test_resnet", COLOUR)


def test_the_last_layer_of_a_network_that_ends_in_a_convolution_is_replaced():
    network = build_model("torchvision:squeezenet1_1", COLOUR)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions[-1].out_channels == 5
