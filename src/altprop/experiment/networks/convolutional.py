"""The plain convolutional networks and the fully connected ones: layer after layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from altprop.experiment.errors import InputError
from altprop.experiment.networks.shapes import Parts, Shape, check_image, check_no_layer_norm

Layers = OrderedDict[str, nn.Module]


def mlp(widths: Sequence[int], shape: Shape, parts: Parts) -> nn.Sequential:
    """Fully connected layers with hidden layers of the given widths."""
    layers: Layers = OrderedDict(flatten=nn.Flatten())
    size = int(torch.Size(shape.input).numel())
    for number, width in enumerate(widths, 1):
        _add(layers, "linear", number, nn.Linear(size, width), parts)
        size = width
    layers[f"linear{len(widths) + 1}"] = nn.Linear(size, shape.outputs)
    return nn.Sequential(layers)


def lenet(shape: Shape, parts: Parts) -> nn.Sequential:
    """LeNet-5 with max pooling."""
    _check("lenet", shape, parts, at_least=16)
    layers, channels = Layers(), shape.input[0]
    for number, width in enumerate((6, 16), 1):
        _add(layers, "conv", number, nn.Conv2d(channels, width, 5), parts)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers["flatten"] = nn.Flatten()
    height, width = ((side - 12) // 4 for side in shape.input[1:])
    _add_linear_layers(layers, [16 * height * width, 120, 84, shape.outputs], parts)
    return nn.Sequential(layers)


def vgg_like(shape: Shape, parts: Parts) -> nn.Sequential:
    """Three stages of two convolutions and a pooling each, and two fully connected layers."""
    _check("vgg-like", shape, parts, at_least=8)
    layers, channels = Layers(), shape.input[0]
    for number, width in enumerate((32, 32, 64, 64, 128, 128), 1):
        _add(layers, "conv", number, nn.Conv2d(channels, width, 3, padding=1), parts)
        if number % 2 == 0:
            layers[f"pool{number // 2}"] = nn.MaxPool2d(2)
        channels = width
    layers["flatten"] = nn.Flatten()
    height, width = (side // 8 for side in shape.input[1:])
    _add_linear_layers(layers, [128 * height * width, 256, shape.outputs], parts)
    return nn.Sequential(layers)


def conv_net(widths: Sequence[int], kernel: int, hidden: int, shape: Shape, parts: Parts) -> nn.Sequential:
    """Convolutions of the given widths that keep the size, each with a pooling, and a hidden layer."""
    shrinks = 2 ** len(widths)
    _check(f"conv-{'-'.join(map(str, widths))}-fc-{hidden}", shape, parts, at_least=shrinks)
    layers, channels = Layers(), shape.input[0]
    for number, width in enumerate(widths, 1):
        _add(layers, "conv", number, nn.Conv2d(channels, width, kernel, padding=kernel // 2), parts)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers["flatten"] = nn.Flatten()
    height, width = (side // shrinks for side in shape.input[1:])
    _add_linear_layers(layers, [channels * height * width, hidden, shape.outputs], parts)
    return nn.Sequential(layers)


def autoencoder(widths: Sequence[int], shape: Shape, parts: Parts) -> nn.Sequential:
    """A fully connected autoencoder: the given widths down to the code, and the same back."""
    _check_reconstruction("autoencoder", shape)
    return mlp([*widths, *reversed(widths[:-1])], shape, parts)


def conv_autoencoder(shape: Shape, parts: Parts) -> nn.Sequential:
    """Two convolutions that halve the image, and two transposed ones that bring it back, as a vector."""
    _check("conv-autoencoder", shape, parts, at_least=4)
    _check_reconstruction("conv-autoencoder", shape)
    channels, height, width = shape.input
    half = [(side + 1) // 2 for side in (height, width)]
    # A transposed convolution of stride 2 gives odd sides; a side that was even gets its last row back.
    to_half, to_whole = ([1 - side % 2 for side in sides] for sides in (half, (height, width)))
    layers = Layers()
    _add(layers, "conv", 1, nn.Conv2d(channels, 16, 3, stride=2, padding=1), parts)
    _add(layers, "conv", 2, nn.Conv2d(16, 32, 3, stride=2, padding=1), parts)
    up = nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=(to_half[0], to_half[1]))
    _add(layers, "conv", 3, up, parts)
    last = nn.ConvTranspose2d(16, channels, 3, stride=2, padding=1, output_padding=(to_whole[0], to_whole[1]))
    layers |= {"conv4": last, "flatten": nn.Flatten()}
    return nn.Sequential(layers)


def _check(name: str, shape: Shape, parts: Parts, at_least: int) -> None:
    check_image(name, shape, at_least)
    check_no_layer_norm(name, parts.norm)


def _check_reconstruction(name: str, shape: Shape) -> None:
    inputs = int(torch.Size(shape.input).numel())
    if shape.outputs != inputs:
        raise InputError(
            f"The model {name!r} gives its inputs back, {inputs} numbers, but is asked for {shape.outputs} outputs: it "
            f"is for the task 'reconstruction'."
        )


def _add(
    layers: Layers, kind: str, number: int, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, parts: Parts
) -> None:
    """Add a hidden layer and what follows it, all with its number."""
    layers[f"{kind}{number}"] = layer
    layers |= {f"{part}{number}": module for part, module in parts.behind(layer)}


def _add_linear_layers(layers: Layers, sizes: list[int], parts: Parts) -> None:
    """Add the layers behind the convolutions: they have no normalisation."""
    for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        if number < len(sizes) - 1:
            layers |= {f"{part}_linear{number}": module for part, module in parts.act()}
