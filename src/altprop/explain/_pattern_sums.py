"""The statistics from which one layer's patterns are estimated: sums over examples and positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.ops.linear_maps import per_channel
from altprop.ops.module_kinds import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

_ROUNDING_ERRORS = 100.0

WeightGradient = Callable[[Tensor], Tensor]
"""From g, of the shape of the layer's output, to Σ g·x over all examples and positions, of the weight's shape."""


def has_patterns(module: nn.Module) -> bool:
    """Whether ``module`` is of a kind that patterns are fitted for: linear, convolution, transposed convolution."""
    return isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS))


class PatternSums:
    """Running sums of one layer, in float64 on the layer's device, and the patterns that follow from them.

    x is what a neuron sees at one position of one example (for a convolution the patch, with the padding), y is its
    output there. E is the mean over all examples and positions, E₊ the mean over those with y > 0 (``positive``), or
    over all. The pattern of a neuron with the weights w is

        a = (E₊[x y] − E₊[x] E[y]) / (wᵀE₊[x y] − wᵀE₊[x] E[y])

    which without ``positive`` is cov(x, y) / (wᵀ cov(x, y)). It does not change if a constant is taken from y. So y's
    mean over the first batch is: else the difference would be one of large numbers. Σ x y is the gradient of the weight
    for y as the gradient of the output, and Σ₊ x the one for 1 where y > 0: that holds for any stride, padding,
    dilation and groups, and nothing has to be unfolded.

    Args:
        layer: one that :func:`has_patterns`.
        positive: take the means E₊ where y > 0.
    """

    def __init__(self, layer: Any, positive: bool) -> None:
        self._layer = layer
        self._positive = positive
        self._shift: Tensor | None = None
        self._count = 0
        self._n: Tensor | float = 0.0  # of positions that E₊ is over, for each neuron
        self._y: Tensor | float = 0.0  # Σ y, shifted
        self._yy: Tensor | float = 0.0  # Σ y², not shifted: the neuron's size
        self._x: Tensor | float = 0.0  # Σ₊ x
        self._xy: Tensor | float = 0.0  # Σ₊ x y, y shifted

    @property
    def seen(self) -> bool:
        """Whether the layer has run, on at least one position."""
        return self._count > 0

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Add one call of the layer.

        Args:
            inputs: what the layer was given.
            outputs: what it returned.
        """
        if not outputs.numel():
            return
        mask = outputs > 0 if self._positive else torch.ones_like(outputs, dtype=torch.bool)
        y, gradient = outputs.double(), _weight_gradient(self._layer, inputs.double(), outputs)
        per_neuron = _neurons_last(self._layer, y)
        if self._shift is None:
            self._shift = per_neuron.mean(0)
        shifted = per_neuron - self._shift
        self._count += len(shifted)
        self._n = self._n + _neurons_last(self._layer, mask).sum(0)
        self._y = self._y + shifted.sum(0)
        self._yy = self._yy + per_neuron.square().sum(0)
        self._x = self._x + gradient(mask.double())
        self._xy = self._xy + gradient((y - self._like_outputs(self._shift, y)) * mask)

    def pattern(self) -> tuple[Tensor, int]:
        """The patterns, of the weight's shape and dtype, and the number of neurons that have none and get zeros.

        A neuron has none if it was never positive (``positive``), or if it varies by no more than the rounding of its
        own size: its denominator is zero then, but for rounding.

        Raises:
            ValueError: the layer has met NaN or infinite values.
        """
        weight = self._layer.weight.detach()
        mean_y, n = torch.as_tensor(self._y) / self._count, torch.as_tensor(self._n).clamp(min=1)
        numerator = (self._xy - self._like_weight(mean_y) * self._x) / self._like_weight(n)
        denominator = self._sum_of_each_neuron(weight.double() * numerator)
        if not denominator.isfinite().all():
            raise ValueError("it has met values that are NaN or infinite")
        rounding = _ROUNDING_ERRORS * torch.finfo(weight.dtype).eps
        dead = denominator.abs() <= rounding**2 * torch.as_tensor(self._yy) / self._count
        pattern = numerator / self._like_weight(denominator.masked_fill(dead, torch.inf))
        return pattern.to(weight.dtype), int(dead.sum())

    def _like_outputs(self, values: Tensor, outputs: Tensor) -> Tensor:
        """One value for each neuron, to be broadcast over the outputs."""
        return values.view(-1, *[1] * _positions(self._layer))

    def _like_weight(self, values: Tensor) -> Tensor:
        """One value for each neuron, to be broadcast over the weight."""
        transposed = isinstance(self._layer, TRANSPOSED_CONVOLUTIONS)
        groups = self._layer.groups if transposed else 1
        return per_channel(values, self._layer.weight, transposed=transposed, groups=groups)

    def _sum_of_each_neuron(self, values: Tensor) -> Tensor:
        """From the weight's shape to one sum for each neuron."""
        if not isinstance(self._layer, TRANSPOSED_CONVOLUTIONS):
            return values.flatten(1).sum(1)
        return values.view(self._layer.groups, -1, values.shape[1], values[0, 0].numel()).sum((1, 3)).flatten()


def _positions(layer: Any) -> int:
    """How many dimensions of positions come behind the neurons' in the layer's output."""
    return 0 if isinstance(layer, nn.Linear) else len(layer.stride)


def _neurons_last(layer: Any, outputs: Tensor) -> Tensor:
    """The outputs as (examples and positions, neurons)."""
    neurons = -1 - _positions(layer)
    return outputs.movedim(neurons, -1).reshape(-1, outputs.shape[neurons])


def _weight_gradient(layer: Any, x: Tensor, y: Tensor) -> WeightGradient:
    if isinstance(layer, nn.Linear):
        flat = x.reshape(-1, x.shape[-1])
        return lambda g: g.reshape(-1, g.shape[-1]).t() @ flat
    dims, transposed = len(layer.stride), isinstance(layer, TRANSPOSED_CONVOLUTIONS)
    if transposed:
        padding = layer.padding
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode), (0,) * dims
    spatial = zip(
        y.shape[-dims:], x.shape[-dims:], layer.stride, padding, layer.dilation, layer.kernel_size, strict=True
    )
    rest = [n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, s, p, d, k in spatial] if transposed else [0] * dims
    batch = (x if x.dim() == dims + 2 else x.unsqueeze(0)).contiguous()
    weight = layer.weight.detach().double()

    def gradient(g: Tensor) -> Tensor:
        g = g if g.dim() == dims + 2 else g.unsqueeze(0)
        result: Tensor = torch.ops.aten.convolution_backward(
            g.contiguous(), batch, weight, None, layer.stride, padding, layer.dilation, transposed, rest, layer.groups,
            (False, True, False),
        )[1]  # fmt: skip
        return result

    return gradient
