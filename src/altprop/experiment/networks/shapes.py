"""What the makers of networks are told: the shape to fit, and what stands between the layers with weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from altprop.experiment.errors import InputError

Norm = Literal["none", "batch", "layer"]
Output = Literal["none", "softmax", "sigmoid", "tanh"]
Activation = Callable[[], nn.Module]


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
class Parts:
    """What stands between the layers with weights.

    Attributes:
        activation: makes an activation.
        norm: the normalisation before each activation.
        dropout: the probability that a hidden unit is left out in a step.
    """

    activation: Activation
    norm: Norm = "none"
    dropout: float = 0.0

    def behind(self, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> list[tuple[str, nn.Module]]:
        """What follows a hidden layer: (kind, module), with kinds ``"norm"``, ``"act"`` and ``"drop"``."""
        parts: list[tuple[str, nn.Module]] = []
        if self.norm != "none":
            parts.append(("norm", self._norm(layer)))
        return [*parts, *self.act()]

    def act(self) -> list[tuple[str, nn.Module]]:
        """As :meth:`behind`, without a normalisation."""
        dropout = [("drop", nn.Dropout(self.dropout))] if self.dropout else []
        return [("act", self.activation()), *dropout]

    def _norm(self, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
        if not isinstance(layer, nn.Linear):
            return nn.BatchNorm2d(layer.out_channels)
        return (nn.LayerNorm if self.norm == "layer" else nn.BatchNorm1d)(layer.out_features)


def check_image(model: str, shape: Shape, at_least: int) -> None:
    """Check that inputs are images that are large enough for a network.

    Raises:
        InputError: they are not.
    """
    if len(shape.input) != 3 or min(shape.input[1:]) < at_least:
        raise InputError(
            f"The model {model!r} takes images of at least {at_least}×{at_least} pixels, but inputs have the shape "
            f"{'×'.join(map(str, shape.input))}. Take hidden widths instead, such as 256-256, or other data."
        )


def check_no_layer_norm(model: str, norm: Norm) -> None:
    """Check that a convolutional network is not asked for layer norm.

    Raises:
        InputError: it is.
    """
    if norm == "layer":
        raise InputError(f"The model {model!r} knows no layer norm: take norm 'batch' or 'none'.")


def check_plain(model: str, dropout: float, output: Output = "none") -> None:
    """Check that a network that has no place for dropout, or for an activation of its outputs, is not asked for it.

    Raises:
        InputError: it is.
    """
    instead = "or take hidden widths such as 256-256, lenet or vgg-like"
    if dropout:
        raise InputError(f"The model {model!r} has no place for dropout: leave dropout at 0, {instead}.")
    if output != "none":
        raise InputError(f"The model {model!r} gives its outputs as they are: leave model.output at none, {instead}.")
