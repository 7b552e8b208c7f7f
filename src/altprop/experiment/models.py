"""The networks by name, and the activations they can have."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from altprop.experiment.errors import InputError, unknown
from altprop.experiment.seeding import seeded
from altprop.experiment.spiking import SPIKING_MODELS, build_spiking, is_spiking
from altprop.nn import Sign, Step

Norm = Literal["none", "batch", "layer"]
Activation = Callable[[], nn.Module]

ACTIVATIONS: dict[str, Activation] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "step": Step,
    "sign": Sign,
}

_MLP = re.compile(r"[1-9]\d*(-[1-9]\d*)*")


@dataclass(frozen=True)
class Shape:
    """What a network must fit.

    Attributes:
        input: the shape of one input.
        outputs: the number of outputs.
    """

    input: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class ModelEntry:
    """A network that is known by a name.

    Attributes:
        build: makes its layers.
        inputs: what it takes, for the reader.
        summary: what it is, in a line.
    """

    build: Callable[[Shape, Activation, Norm], nn.Sequential]
    inputs: str
    summary: str


def build_model(name: str, shape: Shape, *, activation: str = "relu", norm: Norm = "none", seed: int = 0) -> nn.Module:
    """Build a network with initial weights that depend on nothing but the arguments.

    Args:
        name: hidden widths as ``"256-256"`` for fully connected layers, one of :data:`MODELS`, or a spiking network
            (:func:`~altprop.experiment.spiking.is_spiking`).
        shape: what the network must fit.
        activation: one of :data:`ACTIVATIONS`; for a spiking network a surrogate gradient, one of
            :data:`~altprop.experiment.spiking.SURROGATES`.
        norm: the normalisation before each activation.
        seed: of the initial weights. Torch's own random state is not moved.

    Raises:
        InputError: a name is unknown, or the network cannot take such inputs.

    Example:
        >>> build_model("16", Shape((1, 8, 8), 10), activation="tanh")
        Sequential(
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (linear1): Linear(in_features=64, out_features=16, bias=True)
          (act1): Tanh()
          (linear2): Linear(in_features=16, out_features=10, bias=True)
        )
    """
    check_model_name(name)
    if is_spiking(name):
        with seeded(seed):
            return build_spiking(name, shape, surrogate=activation, norm=norm)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    with seeded(seed):
        if name in MODELS:
            return MODELS[name].build(shape, ACTIVATIONS[activation], norm)
        return _mlp([int(width) for width in name.split("-")], shape, ACTIVATIONS[activation], norm)


def check_model_name(name: str) -> None:
    """Check that ``name`` is a network.

    Raises:
        InputError: it is not.
    """
    if name not in MODELS and not _MLP.fullmatch(name) and not is_spiking(name):
        raise unknown("model", name, [*MODELS, "hidden widths such as 256-256", *SPIKING_MODELS])


def _mlp(widths: list[int], shape: Shape, activation: Activation, norm: Norm) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    size = int(torch.Size(shape.input).numel())
    for number, width in enumerate(widths, 1):
        layers[f"linear{number}"] = nn.Linear(size, width)
        if norm != "none":
            layers[f"norm{number}"] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm](width)
        layers[f"act{number}"] = activation()
        size = width
    layers[f"linear{len(widths) + 1}"] = nn.Linear(size, shape.outputs)
    return nn.Sequential(layers)


def _lenet(shape: Shape, activation: Activation, norm: Norm) -> nn.Sequential:
    channels = _channels("lenet", shape, norm, at_least=16)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate((6, 16), 1):
        _add_convolution(layers, number, nn.Conv2d(channels, width, 5), activation, norm)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers["flatten"] = nn.Flatten()
    height, width = ((side - 12) // 4 for side in shape.input[1:])
    _add_linear_layers(layers, [16 * height * width, 120, 84, shape.outputs], activation)
    return nn.Sequential(layers)


def _vgg_like(shape: Shape, activation: Activation, norm: Norm) -> nn.Sequential:
    channels = _channels("vgg-like", shape, norm, at_least=8)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate((32, 32, 64, 64, 128, 128), 1):
        _add_convolution(layers, number, nn.Conv2d(channels, width, 3, padding=1), activation, norm)
        if number % 2 == 0:
            layers[f"pool{number // 2}"] = nn.MaxPool2d(2)
        channels = width
    layers["flatten"] = nn.Flatten()
    height, width = (side // 8 for side in shape.input[1:])
    _add_linear_layers(layers, [128 * height * width, 256, shape.outputs], activation)
    return nn.Sequential(layers)


MODELS: dict[str, ModelEntry] = {
    "lenet": ModelEntry(_lenet, "images of 16×16 or more", "LeNet-5: 2 convolutions, 3 fully connected layers."),
    "vgg-like": ModelEntry(_vgg_like, "images of 8×8 or more", "6 convolutions in 3 stages, 2 fully connected layers."),
}


def _channels(name: str, shape: Shape, norm: Norm, at_least: int) -> int:
    if len(shape.input) != 3 or min(shape.input[1:]) < at_least:
        raise InputError(
            f"The model {name!r} takes images of at least {at_least}×{at_least} pixels, but inputs have the shape "
            f"{'×'.join(map(str, shape.input))}. Take hidden widths instead, such as 256-256, or other data."
        )
    if norm == "layer":
        raise InputError(f"The model {name!r} knows no layer norm: take norm 'batch' or 'none'.")
    return shape.input[0]


def _add_convolution(
    layers: OrderedDict[str, nn.Module], number: int, convolution: nn.Conv2d, activation: Activation, norm: Norm
) -> None:
    layers[f"conv{number}"] = convolution
    if norm == "batch":
        layers[f"norm{number}"] = nn.BatchNorm2d(convolution.out_channels)
    layers[f"act{number}"] = activation()


def _add_linear_layers(layers: OrderedDict[str, nn.Module], sizes: list[int], activation: Activation) -> None:
    for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        if number < len(sizes) - 1:
            layers[f"act_linear{number}"] = activation()
