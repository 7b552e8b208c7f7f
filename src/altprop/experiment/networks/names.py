"""The networks by name, and the activations they can have."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from altprop.experiment.errors import InputError, unknown
from altprop.experiment.networks.convolutional import autoencoder, conv_autoencoder, conv_net, lenet, mlp, vgg_like
from altprop.experiment.networks.hub import HUBS, build_of_hub, check_hub_name, is_of_hub
from altprop.experiment.networks.residual import resnet
from altprop.experiment.networks.shapes import Activation, Norm, Output, Parts, Shape, check_plain
from altprop.experiment.networks.spiking import SPIKING_MODELS, Neurons, build_spiking, is_spiking
from altprop.experiment.networks.transformers import TRANSFORMERS, build_transformer
from altprop.experiment.seeding import seeded
from altprop.nn import Sign, Step

__all__ = [
    "ACTIVATIONS",
    "MODELS",
    "Activation",
    "ModelEntry",
    "Norm",
    "Shape",
    "build_model",
    "check_model_name",
    "known_models",
]

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

OUTPUTS: dict[str, Activation] = {"softmax": partial(nn.Softmax, dim=1), "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
"""The activations that the outputs of a network can have."""

BOUNDED = frozenset({"tanh", "sigmoid", "step", "sign"})
"""Those of them whose values do not grow without end."""

_WIDTHS = r"[1-9]\d*(-[1-9]\d*)*"
_MLP, _AUTOENCODER = re.compile(_WIDTHS), re.compile(f"autoencoder-{_WIDTHS}")


@dataclass(frozen=True)
class ModelEntry:
    """A network that is known by a name.

    Attributes:
        build: makes its layers.
        inputs: what it takes, for the reader.
        summary: what it is, in a line.
    """

    build: Callable[[Shape, Parts], nn.Sequential]
    inputs: str
    summary: str


MODELS: dict[str, ModelEntry] = {
    "lenet": ModelEntry(lenet, "images of 16×16 or more", "LeNet-5: 2 convolutions, 3 fully connected layers."),
    "vgg-like": ModelEntry(vgg_like, "images of 8×8 or more", "6 convolutions in 3 stages, 2 fully connected layers."),
    "conv-32-fc-1000": ModelEntry(
        partial(conv_net, (32,), 5, 1000), "images of 2×2 or more", "The DRTP paper's for MNIST: 1 convolution of 5×5."
    ),
    "conv-64-256-fc-2000": ModelEntry(
        partial(conv_net, (64, 256), 3, 2000), "images of 4×4 or more", "The DRTP paper's for CIFAR-10: 2 convolutions."
    ),
    "resnet-20": ModelEntry(
        partial(resnet, 3), "images of 4×4 or more", "The residual network for CIFAR, with batch norm: 9 blocks."
    ),
    "resnet-56": ModelEntry(
        partial(resnet, 9), "images of 4×4 or more", "The residual network for CIFAR, with batch norm: 27 blocks."
    ),
    "conv-autoencoder": ModelEntry(
        conv_autoencoder, "images of 4×4 or more", "2 convolutions and 2 transposed ones, for reconstruction."
    ),
}


def build_model(
    name: str,
    shape: Shape,
    *,
    activation: str = "relu",
    norm: Norm = "none",
    seed: int = 0,
    dropout: float = 0.0,
    pretrained: bool = False,
    output: Output = "none",
    neurons: Neurons | None = None,
) -> nn.Module:
    """Build a network with initial weights that depend on nothing but the arguments.

    Args:
        name: hidden widths as ``"256-256"`` for fully connected layers, ``"autoencoder-500-250-30"`` for widths down to
            a code and back, one of :data:`MODELS` or :data:`~altprop.experiment.networks.transformers.TRANSFORMERS`, a
            spiking network (:func:`~altprop.experiment.networks.spiking.is_spiking`), or ``"torchvision:NAME"`` or
            ``"timm:NAME"`` (:func:`~altprop.experiment.networks.hub.build_of_hub`).
        shape: what the network must fit.
        activation: one of :data:`ACTIVATIONS`; for a spiking network a surrogate gradient, one of
            :data:`~altprop.experiment.networks.spiking.SURROGATES`.
        norm: the normalisation before each activation.
        seed: of the initial weights. Torch's own random state is not moved.
        dropout: the probability that a hidden unit is left out in a step, behind each hidden activation.
        pretrained: whether a network of torchvision or timm starts from its published weights.
        output: the activation of the outputs: ``"none"`` or one of :data:`OUTPUTS`, a last module called ``output``.
        neurons: of a spiking network. Unset: the usual ones.

    Raises:
        InputError: a name is unknown, or the network cannot take such inputs, or has no place for what is asked for.

    Example:
        >>> build_model("16", Shape((1, 8, 8), 10), activation="tanh", dropout=0.5)
        Sequential(
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (linear1): Linear(in_features=64, out_features=16, bias=True)
          (act1): Tanh()
          (drop1): Dropout(p=0.5, inplace=False)
          (linear2): Linear(in_features=16, out_features=10, bias=True)
        )
    """
    check_model_name(name)
    if not 0 <= dropout < 1:
        raise InputError(f"Dropout is a probability from 0 to below 1, got {dropout:g}.")
    if pretrained and not is_of_hub(name):
        raise InputError(
            f"The model {name!r} has no published weights: leave pretrained off, or take torchvision:NAME or timm:NAME."
        )
    with seeded(seed):
        if is_of_hub(name):
            check_plain(name, 0, output)
            return build_of_hub(name, shape, activation=activation, norm=norm, dropout=dropout, pretrained=pretrained)
        if is_spiking(name):
            check_plain(name, dropout, output)
            return build_spiking(name, shape, surrogate=activation, norm=norm, neurons=neurons)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        if name in TRANSFORMERS:
            check_plain(name, dropout, output)
            return build_transformer(name, shape, activation=ACTIVATIONS[activation], norm=norm)
        network = _build(name, shape, Parts(ACTIVATIONS[activation], norm, dropout))
        if output != "none":
            network.add_module("output", OUTPUTS[output]())
        return network


def _build(name: str, shape: Shape, parts: Parts) -> nn.Sequential:
    if name in MODELS:
        return MODELS[name].build(shape, parts)
    widths = [int(width) for width in name.removeprefix("autoencoder-").split("-")]
    return (autoencoder if _AUTOENCODER.fullmatch(name) else mlp)(widths, shape, parts)


def check_model_name(name: str) -> None:
    """Check that ``name`` is a network.

    Raises:
        InputError: it is not.
    """
    if is_of_hub(name):
        check_hub_name(name)
    elif name not in MODELS | TRANSFORMERS and not _has_widths(name) and not is_spiking(name):
        known = [*MODELS, "hidden widths such as 256-256", "autoencoder-64-16", *TRANSFORMERS, *SPIKING_MODELS, *HUBS]
        raise unknown("model", name, known)


def _has_widths(name: str) -> bool:
    return bool(_MLP.fullmatch(name) or _AUTOENCODER.fullmatch(name))


def known_models() -> list[tuple[str, str, str]]:
    """For the reader: the names of the networks, what each takes, and what it is.

    Example:
        >>> known_models()[0]
        ('256-256', 'anything', 'Fully connected, with hidden layers of these widths.')
    """
    return [
        ("256-256", "anything", "Fully connected, with hidden layers of these widths."),
        (
            "autoencoder-64-16",
            "anything",
            "Fully connected, these widths down to the code and back: for reconstruction.",
        ),
        *((name, entry.inputs, entry.summary) for name, entry in (MODELS | TRANSFORMERS | SPIKING_MODELS).items()),
        *((name, inputs, summary) for name, (inputs, summary) in HUBS.items()),
    ]
