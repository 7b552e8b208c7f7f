"""Networks as torchvision has them, explained in one line: no canonizer, no change to the model, no warning."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop

models = pytest.importorskip("torchvision.models")


class FunctionalBlock(nn.Module):
    """A basic block of ResNet, written with functions and ``+``."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        block = self.block
        out = F.relu(block.bn1(block.conv1(x)))
        out = block.bn2(block.conv2(out))
        return F.relu(out + (x if block.downsample is None else block.downsample(x)))


def functional_resnet18():
    model = models.resnet18()
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for place, block in enumerate(stage):
            stage[place] = FunctionalBlock(block)
    return model


CONVOLUTIONAL = {
    "ResNet-18": (models.resnet18, 32),
    "ResNet-18 of functions": (functional_resnet18, 32),
    "DenseNet-121": (models.densenet121, 32),
    "Inception-v3": (lambda: models.inception_v3(init_weights=False, aux_logits=False), 75),
    "GoogLeNet": (lambda: models.googlenet(init_weights=False), 32),
    "EfficientNet-B0": (models.efficientnet_b0, 32),
    "MobileNet-v3": (models.mobilenet_v3_small, 32),
    "ConvNeXt-tiny": (models.convnext_tiny, 32),
}
CONSERVING = {"ResNet-18", "ResNet-18 of functions", "DenseNet-121", "Inception-v3", "GoogLeNet", "ConvNeXt-tiny"}
ATTENDING = {"ViT-B/16": (models.vit_b_16, 224), "Swin-T": (models.swin_t, 32)}
"""Class tokens and positions, parameters that are added, and attention keep some of the relevance."""
NETWORKS = CONVOLUTIONAL | ATTENDING


def made(make, size):
    """The network in double precision without biases or shifts, its activations of the order of one."""
    torch.manual_seed(0)
    model = make().double()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif not parameter.any():
                parameter.normal_(std=0.02)  # torchvision's vision transformer begins with a head of zeros
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()(torch.randn(4, 3, size, size).double())
        for norm in norms:
            norm.running_mean.zero_()
    return model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_one_line_explains_it(name):
    make, size = NETWORKS[name]
    model = made(make, size)
    x = torch.randn(1, 3, size, size).double()
    R, delta = altprop.LRP(model, strict=True).attribute(x, target=3, return_convergence_delta=True)
    assert R.shape == x.shape and R.isfinite().all() and R.any()
    if name in CONSERVING:
        assert abs(delta) < 1e-4 * abs(model(x)[0, 3])


@pytest.mark.parametrize("name", ["ResNet-18 of functions", "EfficientNet-B0", "MobileNet-v3", "Inception-v3"])
def test_without_biases_stabilisers_alone_keep_relevance(name):
    """Also where z+ is zero: a neuron with negative contributions alone has nothing to hand its relevance to."""
    make, size = NETWORKS[name]
    books = altprop.LRP(made(make, size)).conservation(torch.randn(1, 3, size, size).double(), target=3)
    scale = max(abs(record.received) for record in books)
    assert all(abs(record.biases) < 1e-9 * scale for record in books)
    kept = sum(record.stabilisers for record in books)
    assert abs(books.explained - books.reached - kept) < 1e-9 * scale


def test_functions_are_explained_like_modules():
    plain, functional = (made(CONVOLUTIONAL[name][0], 32) for name in ("ResNet-18", "ResNet-18 of functions"))
    x = torch.randn(1, 3, 32, 32).double()
    found, expected = (altprop.LRP(model).attribute(x, target=3) for model in (functional, plain))
    torch.testing.assert_close(found, expected)
