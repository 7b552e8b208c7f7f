"""The spiking networks by name, their surrogate gradients, and how their spikes are judged and read."""

# ruff: noqa: PLC0415  (snntorch is an extra of its own, which only these networks need)

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from altprop._extras import how_to_install
from altprop.experiment.data.examples import Task
from altprop.experiment.errors import InputError
from altprop.experiment.objectives import DEFAULT_OBJECTIVE
from altprop.nn import SpikingResidual, SpikingSequential
from altprop.nn.activations import step
from altprop.rewards import SPIKE_REWARDS, SpikeRate, SpikeReward

if TYPE_CHECKING:
    from altprop.experiment.networks.shapes import Shape

SURROGATES = ("atan", "fast-sigmoid", "step")
"""In the place of activations: the surrogate gradient of the hidden neurons; ``"step"`` is none. All fire alike."""

STEPS = 15

Reset = Literal["subtract", "zero", "none"]
"""What a spike does to the membrane potential, as snntorch's ``reset_mechanism``."""


@dataclass(frozen=True)
class Neurons:
    """What the neurons of a network are like.

    Attributes:
        beta: how much of the membrane potential is left after a step.
        reset: what a spike does to it.
        noise: the standard deviation of the noise on what enters each layer in training.
    """

    beta: float = 0.9
    reset: Reset = "subtract"
    noise: float = 0.0


class Noise(nn.Module):
    """Adds normal noise in training, drawn anew at each step of time: lfprop's ``NoisyWrapper``."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """x + noise in training, else x."""
        return x + self.deviation * torch.randn_like(x) if self.training else x


_MLP = re.compile(r"lif-[1-9]\d*(-[1-9]\d*)*")
_WIDTHS_OF_MLP = "lif-1000"


class Surrogate:
    """A step with the gradient that its name says."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, z: Tensor) -> Tensor:
        """1 where z > 0, else 0."""
        from snntorch.surrogate import ATan, FastSigmoid

        spikes: Tensor = ATan.apply(z, 2.0) if self.name == "atan" else FastSigmoid.apply(z, 25)
        return spikes


@dataclass(frozen=True)
class _Parts:
    """What the layers of a network are made of."""

    surrogate: str
    norm: str
    neurons: Neurons

    def neuron(self, *, last: bool = False) -> nn.Module:
        from snntorch import Leaky

        # The last layer's neurons always have a gradient: without it no rule but LFP could teach even these.
        name = "atan" if last and self.surrogate == "step" else self.surrogate
        neuron: nn.Module = Leaky(
            self.neurons.beta,
            spike_grad=step if name == "step" else Surrogate(name),
            reset_mechanism=self.neurons.reset,
            init_hidden=True,
        )
        return neuron

    def convolution(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        # Spikes are sparse: by torch's default the layers behind would be silent, and stay so.
        nn.init.kaiming_normal_(convolution.weight)
        return [*self._noise(), convolution, *([nn.BatchNorm2d(outputs)] if self.norm == "batch" else [])]

    def linear(self, inputs: int, outputs: int) -> list[nn.Module]:
        return [*self.last(inputs, outputs), *([nn.BatchNorm1d(outputs)] if self.norm == "batch" else [])]

    def last(self, inputs: int, outputs: int) -> list[nn.Module]:
        return [*self._noise(), nn.Linear(inputs, outputs)]

    def _noise(self) -> list[nn.Module]:
        return [Noise(self.neurons.noise)] if self.neurons.noise else []


def _mlp(widths: Iterable[int], shape: Shape, parts: _Parts) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    sizes = [int(torch.Size(shape.input).numel()), *widths]
    for inputs, outputs in pairwise(sizes):
        layers += [*parts.linear(inputs, outputs), parts.neuron()]
    return [*layers, *parts.last(sizes[-1], shape.outputs)]


def _cnn(shape: Shape, parts: _Parts) -> list[nn.Module]:
    channels, layers = shape.input[0], list[nn.Module]()
    for width in (16, 32):
        layers += [*parts.convolution(channels, width), parts.neuron(), nn.MaxPool2d(2)]
        channels = width
    return [*layers, nn.Flatten(), *parts.last(_size(shape, 4, channels), shape.outputs)]


def _vgg(shape: Shape, parts: _Parts) -> list[nn.Module]:
    channels, layers = shape.input[0], list[nn.Module]()
    for width in (16, 32, 64):
        for inputs in (channels, width):
            layers += [*parts.convolution(inputs, width), parts.neuron()]
        layers.append(nn.MaxPool2d(2))
        channels = width
    hidden = [nn.Flatten(), *parts.linear(_size(shape, 8, channels), 256), parts.neuron()]
    return [*layers, *hidden, *parts.last(256, shape.outputs)]


def _resnet(shape: Shape, parts: _Parts) -> list[nn.Module]:
    channels, layers = 16, [*parts.convolution(shape.input[0], 16), parts.neuron()]
    for width in (16, 32, 64):
        stride = width // channels
        first = parts.convolution(channels, width, stride=stride)
        body = nn.Sequential(*first, parts.neuron(), *parts.convolution(width, width))
        shortcut = (
            nn.Identity() if stride == 1 else nn.Sequential(*parts.convolution(channels, width, kernel=1, stride=2))
        )
        layers += [SpikingResidual(body, shortcut), parts.neuron()]
        channels = width
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *parts.last(channels, shape.outputs)]


def _size(shape: Shape, shrinks: int, channels: int) -> int:
    height, width = (side // shrinks for side in shape.input[1:])
    return channels * height * width


@dataclass(frozen=True)
class SpikingEntry:
    """A spiking network that is known by a name.

    Attributes:
        build: makes its layers, but for the last neuron.
        at_least: the least height and width of its images; 0 if it takes any inputs.
        summary: what it is, in a line.
    """

    build: Callable[[Any, _Parts], list[nn.Module]]
    at_least: int
    summary: str

    @property
    def inputs(self) -> str:
        """What it takes, for the reader."""
        return f"images of {self.at_least}×{self.at_least} or more" if self.at_least else "anything"


SPIKING_MODELS: dict[str, SpikingEntry] = {
    "lif-mlp": SpikingEntry(
        lambda shape, parts: _mlp(_widths(_WIDTHS_OF_MLP), shape, parts),
        0,
        "Spiking, fully connected: a hidden layer of 1000. Other widths: lif-256-256.",
    ),
    "lif-cnn": SpikingEntry(_cnn, 4, "Spiking: 2 convolutions, 1 fully connected layer."),
    "lif-vgg-like": SpikingEntry(_vgg, 8, "Spiking: 6 convolutions in 3 stages, 2 fully connected layers."),
    "lif-resnet": SpikingEntry(_resnet, 4, "Spiking: 3 residual blocks, 1 fully connected layer."),
}


def _widths(name: str) -> list[int]:
    return [int(width) for width in name.split("-")[1:]]


def spiking_defaults(name: str) -> dict[str, str]:
    """Settings that fit a network, in place of those that fit networks that do not spike."""
    norm = "batch" if name in ("lif-vgg-like", "lif-resnet") else "none"  # deep ones fall silent without
    return {"activation": "atan", "optimizer": "adam", "objective": "spike-rate", "norm": norm}


def default_objective(name: str, task: Task) -> str:
    """What a network is trained for where nothing is said: the objective that fits the task, or its spikes."""
    return spiking_defaults(name)["objective"] if is_spiking(name) else DEFAULT_OBJECTIVE[task]


def is_spiking(name: str) -> bool:
    """Whether ``name`` is a spiking network: one of :data:`SPIKING_MODELS`, or hidden widths as ``"lif-256-256"``."""
    return name in SPIKING_MODELS or bool(_MLP.fullmatch(name))


def build_spiking(
    name: str, shape: Shape, *, surrogate: str = "atan", norm: str = "none", neurons: Neurons | None = None
) -> SpikingSequential:
    """Build a spiking network.

    Args:
        name: as in :func:`is_spiking`.
        shape: what the network must fit.
        surrogate: of the hidden neurons, one of :data:`SURROGATES`.
        norm: ``"batch"``, over samples and time, before each hidden neuron; or ``"none"``.
        neurons: what they are like. Unset: the usual ones.

    Returns:
        A network that gives spikes of shape (steps, batch, outputs).

    Raises:
        InputError: snntorch is not installed, or the arguments do not fit.
    """
    try:
        import snntorch  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            f"The model {name!r} needs snntorch, which is not installed. Install it with: {how_to_install('snn')}"
        ) from None
    if surrogate not in SURROGATES:
        raise _not_a_surrogate(name, surrogate)
    if norm == "layer":
        raise InputError(f"The model {name!r} knows no layer norm: take norm 'batch' or 'none'.")
    parts, entry = _Parts(surrogate, norm, neurons or Neurons()), SPIKING_MODELS.get(name)
    if entry is None:
        layers = _mlp(_widths(name), shape, parts)
    else:
        _check_images(name, entry, shape)
        layers = entry.build(shape, parts)
    return SpikingSequential(*layers, parts.neuron(last=True), steps=STEPS)


def _check_images(name: str, entry: SpikingEntry, shape: Shape) -> None:
    if entry.at_least and (len(shape.input) != 3 or min(shape.input[1:]) < entry.at_least):
        raise InputError(
            f"The model {name!r} takes images of at least {entry.at_least}×{entry.at_least} pixels, but inputs have "
            f"the shape {'×'.join(map(str, shape.input))}. Take lif-mlp instead, or other data."
        )


def objective_of_spikes(name: str, objective: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The objective called ``name`` as one of spikes over time: what does not judge these judges their counts."""
    return objective if name in SPIKE_REWARDS else lambda spikes, target: objective(spikes.sum(0), target)


def read_spikes(objective: str, spikes: Tensor) -> Tensor:
    """What spikes of shape (steps, batch, classes) say of each class: (batch, classes)."""
    code: SpikeReward = SPIKE_REWARDS[objective]() if objective in SPIKE_REWARDS else SpikeRate()
    return code.scores(spikes)


def check_fit(model: str, activation: str, objective: str | None) -> None:
    """Check that a network, an activation and an objective fit each other: spikes have their own.

    Raises:
        InputError: they do not.
    """
    if is_spiking(model):
        if activation not in SURROGATES:
            raise _not_a_surrogate(model, activation)
        return
    if activation in SURROGATES and activation != "step":
        raise InputError(
            f"The activation {activation!r} is the surrogate gradient of spiking neurons, and the model {model!r} has "
            f"none. Take a spiking network, such as lif-mlp, or another activation."
        )
    if objective in SPIKE_REWARDS:
        raise InputError(
            f"The objective {objective!r} judges spikes over time, and the model {model!r} gives none. Take a spiking "
            f"network, such as lif-mlp, or another objective."
        )


def _not_a_surrogate(model: str, activation: str) -> InputError:
    return InputError(
        f"The neurons of {model!r} fire spikes: in the place of an activation, name the surrogate gradient of the "
        f"hidden ones, {', '.join(SURROGATES)} (none); got {activation!r}."
    )


def check_task(model: str, task: str) -> None:
    """Check that a network can do the task.

    Raises:
        InputError: it gives spikes, and cannot.
    """
    if is_spiking(model) and task != "classification":
        raise InputError(f"The model {model!r} gives spikes, which tell classes apart: it is not for {task}.")
