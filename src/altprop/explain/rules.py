"""LRP's rules for layers with weights, activations and pools, each as its paper gives it.

Notation: a layer computes z_j = Σ_i x_i w_ij + b_j, and R_j is the relevance of its output j. v⁺ and v⁻ are the
positive and the negative part of v. Every division is stabilised: R / z is R / (z + ε·sign z), with sign 0 := 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from altprop.ops.lrp.layer import WeightedSum

Bias = Literal["absorb", "redistribute", "ignore"]
Kind = Literal["layer", "activation", "sum", "pool", "normalisation", "softmax"]


class RelevanceRule:
    """A rule that a composite can assign to operations.

    Attributes:
        applies_to: the kinds of operations that it is a rule for; a composite passes over it for others.
        passes: whether relevance passes unchanged, so that no values are needed.
    """

    applies_to: ClassVar[frozenset[Kind]] = frozenset()
    passes: ClassVar[bool] = False


class LayerRule(RelevanceRule, ABC):
    """A rule for layers with weights: linear layers and convolutions, transposed ones too.

    Attributes:
        proportional: whether an input that is zero gets no relevance.
    """

    applies_to: ClassVar[frozenset[Kind]] = frozenset(("layer",))
    proportional: ClassVar[bool] = True

    @abstractmethod
    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """The relevance of the input, of its shape, from that of the output."""


class ActivationRule(RelevanceRule, ABC):
    """A rule for activations a = φ(z) that needs their values; passing relevance on, the default, does not."""

    applies_to: ClassVar[frozenset[Kind]] = frozenset(("activation",))

    @abstractmethod
    def relevance(self, z: Tensor, a: Tensor, R: Tensor) -> Tensor:
        """The relevance of z from that of a = φ(z)."""


def positive(v: Tensor) -> Tensor:
    """v⁺."""
    return v.clamp(min=0)


def negative(v: Tensor) -> Tensor:
    """v⁻."""
    return v.clamp(max=0)


def check_finite(rule: object, **values: float) -> None:
    """Check that each of a rule's parameters is a finite number >= 0."""
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{type(rule).__name__}'s {name} must be a finite number >= 0, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class _Stabilised(LayerRule):
    """What the rules that divide by z have in common.

    Args:
        epsilon: the stabiliser ε ≥ 0.
        bias: what becomes of the share of relevance that goes to b: the bias keeps it (``"absorb"``), it is spread
            evenly over the inputs of the neuron (``"redistribute"``), or there is none because z is taken without the
            bias (``"ignore"``).
    """

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def __post_init__(self) -> None:
        check_finite(self, epsilon=self.epsilon)
        if self.bias not in ("absorb", "redistribute", "ignore"):
            raise ValueError(
                f"{type(self).__name__}'s bias must be 'absorb', 'redistribute' or 'ignore', got {self.bias!r}."
            )

    @property
    def proportional(self) -> bool:  # type: ignore[override]
        """False where the bias's share is spread over the inputs: zeros get some of it too."""
        return self.bias != "redistribute"

    def _bias_of(self, layer: WeightedSum) -> Tensor | None:
        return None if self.bias == "ignore" else layer.bias

    def _z(self, layer: WeightedSum) -> Tensor:
        if self.bias != "ignore" or layer.bias is None:
            return layer.z
        return layer.z - layer.per_output(layer.bias)

    def _with_bias(self, layer: WeightedSum, R_x: Tensor, s: Tensor, b: Tensor | None) -> Tensor:
        """``R_x``, plus the share of the bias ``b``, b·s, spread over the inputs if the rule redistributes it."""
        if self.bias != "redistribute" or b is None:
            return R_x
        return R_x.add_(layer.spread(s * layer.per_output(b) / layer.fan_in()))


@dataclass(frozen=True)
class Epsilon(_Stabilised):
    """LRP-ε: R_i = Σ_j x_i w_ij R_j / z_j.

    Args:
        epsilon: the stabiliser ε ≥ 0; with 0 it is LRP-0.
        bias: what becomes of the bias's share: ``"absorb"``, ``"redistribute"`` or ``"ignore"``.

    Reference:
        Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
        Propagation", PLoS ONE 2015, eq. 58.
    """

    epsilon: float = 1e-6
    in_proportion: ClassVar[bool] = True

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """R_i = Σ_j x_i w_ij R_j / z_j."""
        z, as_it_was = self._z(layer), self.bias != "ignore"
        s = layer.quotient(R, z, self.epsilon, nonnegative=as_it_was and layer.z_is_nonnegative)
        R_x = layer.back(s).mul_(layer.x)
        return self._with_bias(layer, R_x, s, self._bias_of(layer))


@dataclass(frozen=True)
class AlphaBeta(_Stabilised):
    """LRP-αβ: R_i = Σ_j (α (x_i w_ij)⁺ / z_j⁺ − β (x_i w_ij)⁻ / z_j⁻) R_j.

    z_j⁺ = Σ_i (x_i w_ij)⁺ + b_j⁺, and z_j⁻ alike.

    Args:
        alpha: α ≥ 1.
        beta: β ≥ 0, with α − β = 1.
        epsilon: the stabiliser ε ≥ 0.
        bias: what becomes of the bias's share: ``"absorb"``, ``"redistribute"`` or ``"ignore"``.

    Reference:
        Bach et al., PLoS ONE 2015, eq. 60.
    """

    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, alpha=self.alpha, beta=self.beta)
        if abs(self.alpha - self.beta - 1.0) > 1e-9:
            raise ValueError(f"AlphaBeta needs alpha - beta = 1, got alpha={self.alpha!r} and beta={self.beta!r}.")

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """The positive contributions' share, less the negative ones'."""
        b = self._bias_of(layer)
        b_plus = None if b is None else positive(b)
        z_plus = _contributions(layer, positive, b_plus)
        s = layer.quotient(R, z_plus, self.epsilon, part=self.alpha, nonnegative=True)
        R_x = self._with_bias(layer, _handed_back(layer, s, positive), s, b_plus)
        if self.alpha != 1.0:
            R_x.mul_(self.alpha)
        if not self.beta:
            return R_x
        b_minus = None if b is None else negative(b)
        z_minus = (
            self._z(layer).sub(z_plus).clamp_(max=0) if layer.nonnegative else _contributions(layer, negative, b_minus)
        )
        s = layer.quotient(R, z_minus, self.epsilon, part=-self.beta)
        R_minus = self._with_bias(layer, _handed_back(layer, s, negative), s, b_minus)
        return R_x.sub_(R_minus, alpha=self.beta)


@dataclass(frozen=True)
class ZPlus(_Stabilised):
    """The z⁺ rule: R_i = Σ_j (x_i w_ij)⁺ R_j / z_j⁺: LRP-αβ with α = 1 and β = 0.

    Args:
        epsilon: the stabiliser ε ≥ 0.
        bias: what becomes of the bias's share: ``"absorb"``, ``"redistribute"`` or ``"ignore"``.

    Reference:
        Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition", Pattern
        Recognition 2017, eq. 17.
    """

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """The positive contributions' share."""
        return AlphaBeta(1.0, 0.0, epsilon=self.epsilon, bias=self.bias).relevance(layer, R)


def _contributions(layer: WeightedSum, sign: Callable[[Tensor], Tensor], b: Tensor | None) -> Tensor:
    """Σ_i (x_i w_ij)^± + b_j: the positive (or negative) contributions, by ``sign``."""
    opposite = negative if sign is positive else positive
    z = layer.forward(layer.x if layer.nonnegative else positive(layer.x), weight_part(layer, sign), b)
    return z if layer.nonnegative else z.add_(layer.forward(negative(layer.x), weight_part(layer, opposite), None))


def _handed_back(layer: WeightedSum, s: Tensor, sign: Callable[[Tensor], Tensor]) -> Tensor:
    """Σ_j (x_i w_ij)^± s_j."""
    opposite = negative if sign is positive else positive
    R_x = layer.transposed(s, weight_part(layer, sign))
    if layer.nonnegative:
        return R_x.mul_(layer.x)
    R_x.mul_(positive(layer.x))
    return R_x.addcmul_(layer.transposed(s, weight_part(layer, opposite)), negative(layer.x))


def weight_part(layer: WeightedSum, sign: Callable[[Tensor], Tensor]) -> Tensor:
    """The positive or the negative part of the weight, by ``sign``; computed once per version of the weight."""
    return layer.part(sign.__name__, sign)


@dataclass(frozen=True)
class Gamma(_Stabilised):
    """LRP-γ: R_i = Σ_j x_i (w_ij + γ w_ij⁺) R_j / Σ_i x_i (w_ij + γ w_ij⁺), for any sign of x and z.

    Positive outputs share in proportion to x_i w_ij + γ (x_i w_ij)⁺, negative ones to x_i w_ij + γ (x_i w_ij)⁻; the
    bias counts as an input that is 1.

    Args:
        gamma: γ ≥ 0.
        epsilon: the stabiliser ε ≥ 0.
        bias: what becomes of the bias's share: ``"absorb"``, ``"redistribute"`` or ``"ignore"``.

    Reference:
        Montavon et al., "Layer-Wise Relevance Propagation: An Overview", 2019, section 10.2; Andéol et al., "Learning
        Domain Invariant Representations by Joint Wasserstein Distance Minimization", 2021, for inputs and outputs of
        any sign.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, gamma=self.gamma)

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """The positive outputs' share, and the negative ones'."""
        b, z = self._bias_of(layer), self._z(layer)
        z_plus = _contributions(layer, positive, None if b is None else positive(b))
        if layer.vanishes and layer.nonnegative:
            # No relevance where the output is not positive: one way back is enough.
            s = layer.quotient(R, z.add(z_plus, alpha=self.gamma), self.epsilon)
            return self._one_way(layer, s, b, positive)
        above = layer.z > 0
        favoured = torch.where(above, z_plus, z - z_plus)
        favoured = z.add(favoured, alpha=self.gamma).masked_fill_(layer.z == 0, torch.inf)  # zeros hand nothing back
        s = layer.quotient(R, favoured, self.epsilon)
        R_x = self._one_way(layer, s * above, b, positive)
        return R_x.add_(self._one_way(layer, s.mul_(~above), b, negative))

    def _one_way(self, layer: WeightedSum, s: Tensor, b: Tensor | None, sign: Callable[[Tensor], Tensor]) -> Tensor:
        """Σ_j (x_i w_ij + γ (x_i w_ij)^±) s_j."""
        opposite = negative if sign is positive else positive
        R_x = layer.transposed(s, self._favoured(layer, sign))
        if layer.nonnegative:
            R_x.mul_(layer.x)
        else:
            R_x.mul_(positive(layer.x))
            R_x.addcmul_(layer.transposed(s, self._favoured(layer, opposite)), negative(layer.x))
        return self._with_bias(layer, R_x, s, None if b is None else b + self.gamma * sign(b))

    def _favoured(self, layer: WeightedSum, sign: Callable[[Tensor], Tensor]) -> Tensor:
        return layer.part(f"{self.gamma} {sign.__name__}", lambda w: w + self.gamma * sign(w))


@dataclass(frozen=True)
class Pass(LayerRule, ActivationRule):
    """Relevance passes unchanged. For a layer with weights, its input and output must have one shape."""

    applies_to: ClassVar[frozenset[Kind]] = frozenset(("layer", "activation", "normalisation", "softmax"))
    passes: ClassVar[bool] = True
    proportional: ClassVar[bool] = False

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:  # type: ignore[override]
        """R."""
        if R.shape != layer.x.shape:
            raise ValueError(
                f"Pass cannot be the rule of the layer {layer.layer.name!r}, which makes {tuple(R.shape)} of "
                f"{tuple(layer.x.shape)}: give it a rule that distributes, such as Epsilon."
            )
        return R


@dataclass(frozen=True)
class Norm(_Stabilised):
    """In proportion to each input's contribution, as LRP-ε; also for sums, averages and normalisations."""

    epsilon: float = 1e-6
    in_proportion: ClassVar[bool] = True
    applies_to: ClassVar[frozenset[Kind]] = frozenset(("layer", "sum", "normalisation"))
    relevance = Epsilon.relevance


@dataclass(frozen=True)
class Winner(RelevanceRule):
    """A max pool hands the relevance to the entry that won: the default."""

    applies_to: ClassVar[frozenset[Kind]] = frozenset(("pool",))


@dataclass(frozen=True)
class Average(RelevanceRule):
    """A max pool hands relevance back as an average pool would: in proportion to the entries of the window.

    Args:
        epsilon: the stabiliser ε ≥ 0.

    Reference:
        Montavon et al., "Layer-Wise Relevance Propagation: An Overview", 2019, section 10.3.
    """

    epsilon: float = 1e-6
    applies_to: ClassVar[frozenset[Kind]] = frozenset(("pool",))

    def __post_init__(self) -> None:
        check_finite(self, epsilon=self.epsilon)
