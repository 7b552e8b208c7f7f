"""Rules that hand back modified gradients instead of relevance; composites of them do not conserve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from altprop.explain.rules import ActivationRule, LayerRule
from altprop.ops.lrp.layer import WeightedSum


@dataclass(frozen=True)
class GuidedBackprop(ActivationRule):
    """A ReLU hands back what is positive, where its input was positive.

    Reference:
        Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2015.
    """

    def relevance(self, z: Tensor, a: Tensor, R: Tensor) -> Tensor:
        """R⁺ where a > 0."""
        return R.clamp(min=0) * (a > 0)


@dataclass(frozen=True)
class DeconvNet(ActivationRule):
    """A ReLU hands back what is positive, whatever its input was.

    Reference:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
    """

    def relevance(self, z: Tensor, a: Tensor, R: Tensor) -> Tensor:
        """R⁺."""
        return R.clamp(min=0)


@dataclass(frozen=True)
class BetaSmooth(ActivationRule):
    """A ReLU hands back as a softplus would: R · σ(β z).

    Args:
        beta: β > 0.

    Reference:
        Dombrowski et al., "Explanations can be manipulated and geometry is to blame", 2019.
    """

    beta: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"BetaSmooth's beta must be a finite number > 0, got {self.beta!r}.")

    def relevance(self, z: Tensor, a: Tensor, R: Tensor) -> Tensor:
        """R · σ(β z)."""
        return R * torch.sigmoid(self.beta * z)


@dataclass(frozen=True)
class _Patterned(LayerRule):
    """Hands back through the patterns of :func:`altprop.fit_patterns`.

    Args:
        patterns: from a layer's name to its patterns, of the shape of its weight.
    """

    patterns: Mapping[str, Tensor] = field(compare=False, repr=False)
    proportional: ClassVar[bool] = False

    def _pattern(self, layer: WeightedSum) -> Tensor:
        name, weight = layer.layer.name, layer.weight
        pattern = self.patterns.get(name)
        if pattern is None:
            raise ValueError(
                f"There are no patterns for the layer {name!r}. Fit them on this very model: "
                f"altprop.fit_patterns(model, loader). Patterns are there for: {', '.join(self.patterns) or 'none'}."
            )
        if pattern.shape != weight.shape:
            raise ValueError(
                f"The patterns of the layer {name!r} have shape {tuple(pattern.shape)}, its weight "
                f"{tuple(weight.shape)}: they were fitted on another model."
            )
        return pattern.to(weight)


@dataclass(frozen=True)
class PatternNet(_Patterned):
    """The signal that a layer's outputs respond to: handed back through the patterns A in place of W, R_x = Aᵀ R.

    Reference:
        Kindermans et al., "Learning how to explain neural networks: PatternNet and PatternAttribution", ICLR 2018.
    """

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """Aᵀ R."""
        return layer.transposed(R, self._pattern(layer))


@dataclass(frozen=True)
class PatternAttribution(_Patterned):
    """What the signal contributes to a layer's outputs: R_x = (W ⊙ A)ᵀ R.

    Reference:
        Kindermans et al., ICLR 2018.
    """

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """(W ⊙ A)ᵀ R."""
        return layer.transposed(R, layer.weight * self._pattern(layer))
