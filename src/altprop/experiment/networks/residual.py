"""The residual networks for small images.

Reference:
    He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from altprop.experiment.networks.shapes import (
    Activation,
    Parts,
    Shape,
    check_image,
    check_no_layer_norm,
    check_plain,
)

WIDTHS = (16, 32, 64)


class Shortcut(nn.Module):
    """The paper's shortcut without parameters (option A): each second pixel, and channels of zeros.

    Args:
        added: how many channels are added, half of them in front.
    """

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, channels + added, height / 2, width / 2), rounded up."""
        x = x[:, :, ::2, ::2]
        zeros = x.new_zeros(x.shape[0], self.added // 2, *x.shape[2:])
        return torch.cat([zeros, x, zeros], 1)

    def extra_repr(self) -> str:
        """How many channels are added."""
        return f"added={self.added}"


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm, and the input added to them before the last activation."""

    def __init__(self, inputs: int, width: int, activation: Activation) -> None:
        super().__init__()
        stride = width // inputs
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.act1 = activation()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity() if inputs == width else Shortcut(width - inputs)
        self.act2 = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, width, height / stride, width / stride)."""
        h = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        activated: Tensor = self.act2(h + self.shortcut(x))
        return activated


def resnet(blocks: int, shape: Shape, parts: Parts) -> nn.Sequential:
    """Three stages of 16, 32 and 64 channels.

    Args:
        blocks: in each stage. The network has 6 * blocks + 2 layers.
        shape: what the network must fit.
        parts: its activation is taken; batch norms are the network's own, whatever the parts say.
    """
    name = f"resnet-{6 * blocks + 2}"
    check_image(name, shape, at_least=4)
    check_no_layer_norm(name, parts.norm)
    check_plain(name, parts.dropout)
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(shape.input[0], WIDTHS[0], 3, padding=1, bias=False),
        "norm": nn.BatchNorm2d(WIDTHS[0]),
        "act": parts.activation(),
    }
    for stage, (inputs, width) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False), 1):
        for block in range(1, blocks + 1):
            layers[f"stage{stage}_block{block}"] = ResidualBlock(
                inputs if block == 1 else width, width, parts.activation
            )
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(WIDTHS[-1], shape.outputs)}
    network = nn.Sequential()
    for key, layer in layers.items():
        network.add_module(key, layer)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # the paper's initialisation, on which its depth relies
    return network
