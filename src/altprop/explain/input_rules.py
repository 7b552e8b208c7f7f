"""Rules for the first layer, whose inputs are no activations: bounded pixels, or values without bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from altprop.explain.rules import LayerRule, check_finite, negative, positive, weight_part
from altprop.ops.lrp.layer import WeightedSum


@dataclass(frozen=True)
class ZBox(LayerRule):
    """The z-box rule, for pixels between l and h: R_i = Σ_j (x_i w_ij − l_i w_ij⁺ − h_i w_ij⁻) R_j / Σ_i (the same).

    Args:
        low: l, the lowest value that an input can have: a number, or a tensor that broadcasts to one input or the batch
            ((channels, 1, 1) for images that were normalised by channel).
        high: h, the highest value.
        epsilon: the stabiliser ε ≥ 0.

    Reference:
        Montavon et al., Pattern Recognition 2017, section 4.2.
    """

    low: float | Tensor = field(default=0.0, compare=False)
    high: float | Tensor = field(default=1.0, compare=False)
    epsilon: float = 1e-6
    proportional: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_finite(self, epsilon=self.epsilon)
        low, high = torch.as_tensor(self.low), torch.as_tensor(self.high)
        if not bool((low <= high).all()):
            raise ValueError(f"ZBox needs low <= high everywhere, got low={self.low!r} and high={self.high!r}.")

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """In proportion to each input's contribution less those of its bounds."""
        x = layer.x
        low, high = _bound(self.low, "low", x), _bound(self.high, "high", x)
        plus, minus = weight_part(layer, positive), weight_part(layer, negative)
        z = layer.forward(x, layer.weight, None)
        z = z - layer.forward(low, plus, None) - layer.forward(high, minus, None)
        s = layer.quotient(R, z, self.epsilon)
        R_x = layer.transposed(s, layer.weight).mul_(x)
        return R_x.sub_(layer.transposed(s, plus).mul_(low)).sub_(layer.transposed(s, minus).mul_(high))


def _bound(value: float | Tensor, name: str, x: Tensor) -> Tensor:
    """The bound in a shape that broadcasts to x, for one input or for each of the batch."""
    bound = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    try:
        shape = torch.broadcast_shapes(bound.shape, (1, *x.shape[1:]))  # type: ignore[no-untyped-call]
        if shape[1:] == x.shape[1:] and shape[0] in (1, len(x)):
            return bound.expand(shape)
    except RuntimeError:
        pass
    raise ValueError(
        f"ZBox's {name} has shape {tuple(bound.shape)}, which does not broadcast to the layer's input {tuple(x.shape)}."
    )


@dataclass(frozen=True)
class WSquare(LayerRule):
    """The w² rule, for inputs without bounds: R_i = Σ_j w_ij² R_j / (Σ_i w_ij² + b_j²).

    Args:
        epsilon: the stabiliser ε ≥ 0.

    Reference:
        Montavon et al., Pattern Recognition 2017, section 4.1.
    """

    epsilon: float = 1e-6
    proportional: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_finite(self, epsilon=self.epsilon)

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """In proportion to the squares of the weights."""
        squares = layer.part("squares", torch.square)
        ones = torch.ones_like(layer.x[:1])
        z = layer.forward(ones, squares, None if layer.bias is None else layer.bias.square())
        return layer.transposed(layer.quotient(R, z.expand_as(R), self.epsilon, nonnegative=True), squares)


@dataclass(frozen=True)
class Flat(LayerRule):
    """The flat rule: a neuron's relevance is spread evenly over its inputs, R_i = Σ_j R_j / (number of j's inputs).

    Args:
        epsilon: the stabiliser ε ≥ 0.

    Reference:
        Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what machines really learn", Nature
        Communications 2019.
    """

    epsilon: float = 1e-6
    proportional: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_finite(self, epsilon=self.epsilon)

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """Evenly."""
        return layer.spread(layer.quotient(R, layer.fan_in().expand_as(R), self.epsilon, nonnegative=True))
