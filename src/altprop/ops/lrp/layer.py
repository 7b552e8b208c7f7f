"""A layer with weights during an explanation: the interface that LRP's rules use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from altprop.ops.fingerprint import fingerprint
from altprop.ops.linear_maps import Columns, Convolution, LinearMap, Matrix
from altprop.ops.lrp.facts import SavedTensor, facts_of, version_of
from altprop.ops.lrp.nodes import RelevanceNode, divide


@dataclass
class Layer:
    """One operation of a network, as the predicates of a composite see it.

    Attributes:
        name: the module that runs it, as in ``named_modules()``; empty for the model itself.
        module: that module.
        function: the name of the torch function.
        kind: the class of modules that does the same, also where the function was called without one; None if there is
            none.
        first: whether it is a layer with weights, and no other lies between it and the input.
        last: whether it is the layer with weights that runs last.
    """

    name: str
    module: nn.Module
    function: str
    kind: type[nn.Module] | None
    first: bool = False
    last: bool = False

    def is_a(self, classes: type | tuple[type, ...]) -> bool:
        """Whether the operation is that of these classes of modules, or is run by one of them."""
        return isinstance(self.module, classes) or (self.kind is not None and issubclass(self.kind, classes))


class WeightedSumRule(Protocol):
    """A rule for layers with weights."""

    @property
    def proportional(self) -> bool:
        """Whether an input that is zero gets no relevance."""

    def relevance(self, layer: WeightedSum, R: Tensor) -> Tensor:
        """The relevance of the layer's input from that of its output."""


class WeightCache:
    """Modified weights, such as positive parts, computed once for each version of each weight.

    Autograd does not count what is written through ``weight.data`` or a numpy array as a new version: :meth:`check`
    looks at the weights themselves, once for each explanation.
    """

    def __init__(self) -> None:
        self.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: the cache can be filled again."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with an empty cache."""
        self.clear()

    def get(self, name: str, make: Callable[[], Tensor], sources: tuple[Tensor, ...]) -> Tensor:
        """The entry ``name`` for the first of ``sources``, recomputed if one of them has changed."""
        if not isinstance(sources[0], nn.Parameter):
            return make()  # it may not outlive this pass
        versions = tuple((id(source), version_of(source), source.data_ptr()) for source in sources)
        made = self._made.get(sources[0])  # type: ignore[no-untyped-call]
        if made is None:
            made = self._made[sources[0]] = {}
        if name not in made or made[name][0] != versions:
            made[name] = versions, make()
            for source in sources:
                self._prints[source] = fingerprint(source).clone()
        part: Tensor = made[name][1]
        return part

    def check(self) -> None:
        """Clear the cache if a weight has changed since its entry was computed."""
        found: dict[tuple[torch.dtype, torch.device], list[tuple[Tensor, Tensor]]] = {}
        for source, before in self._prints.items():  # type: ignore[no-untyped-call]
            found.setdefault((before.dtype, before.device), []).append((before, fingerprint(source)))
        # All at once, to wait for a GPU only once.
        if not all(
            torch.cat([a for a, _ in pairs]).equal(torch.cat([b for _, b in pairs])) for pairs in found.values()
        ):
            self.clear()

    def clear(self) -> None:
        """Clear the cache."""
        self._made = WeakIdKeyDictionary()
        self._prints = WeakIdKeyDictionary()


class WeightedSum(RelevanceNode):
    """One call of a layer z = W x + b, with W and b of the layer and a batch norm folded into it.

    Attributes:
        layer: which it is.
        rule: how it hands relevance back; set when the forward pass is over.
        output: z.
        parameter: the weight as the model keeps it.
        wants_weight_relevance: whether the relevance of each weight is asked for.
        weight_relevance: x_i w_ij R_j / z_j, summed over the batch and all positions, if it was; of the weight's shape.
    """

    rule: WeightedSumRule
    wants_weight_relevance = False
    weight_relevance: Tensor | None = None

    def __init__(
        self, layer: Layer, linear_map: LinearMap, x: Tensor, weight: Tensor, bias: Tensor | None, cache: WeightCache
    ) -> None:
        self.layer, self._map, self._weight, self._bias, self._cache = layer, linear_map, weight, bias, cache
        self.parameter = weight
        self._input = SavedTensor(x)
        self.nonnegative = facts_of(x).nonnegative
        facts_of(x).consumers.append(self)

    def set_output(self, z: Tensor) -> None:
        """Keep z, the output in the graph."""
        self.output, self._facts = SavedTensor(z), facts_of(z)
        self._facts.producer = self

    def vanishes_at_zero(self) -> bool:
        """See :class:`altprop.ops.lrp.facts.Consumer`."""
        return self.rule.proportional

    def vanishes_below(self) -> bool:
        """See :class:`altprop.ops.lrp.facts.Consumer`."""
        return self.nonnegative and self.rule.proportional

    def folded(self) -> BatchNorm | None:
        """The batch norm to fold into this layer: its only consumer, if the composite allows that."""
        consumer = self._facts.consumers[0] if len(self._facts.consumers) == 1 else None
        if not isinstance(consumer, BatchNorm) or not consumer.may_fold:
            return None
        # A linear layer's outputs are its last dimension, a batch norm's channels the second.
        last = isinstance(self._map, Matrix | Columns) and self.output.tensor.dim() == 2 == self._weight.dim()
        return consumer if last or isinstance(self._map, Convolution) else None

    def hand_back(self, R: Tensor) -> tuple[Tensor]:
        """By the rule."""
        self._norm = self.folded()
        R = R.to(self._weight.dtype)  # under autocast the output is of another
        self.vanishes = (self._norm or self)._facts.vanishes_below()
        if self.wants_weight_relevance:
            s = divide(R, self.z, getattr(self.rule, "epsilon", 1e-6))
            self.weight_relevance = self._map.outer(s, self._weight, self.x).mul_(self.weight)
        return (self.rule.relevance(self, R),)

    # What the rules ask for.

    @property
    def x(self) -> Tensor:
        """The input, (batch, ...)."""
        return self._input.get().to(self._weight.dtype)

    @property
    def z(self) -> Tensor:
        """The output. Where :attr:`vanishes`, negative entries may read as zero: they get no relevance."""
        kept = (self._norm or self).output
        if kept.rectified and not self.vanishes:
            return self.forward(self.x, self.weight, self.bias)
        return kept.get().to(self._weight.dtype)

    @property
    def z_is_nonnegative(self) -> bool:
        """Whether :attr:`z` has no negative entries."""
        return self.vanishes and (self._norm or self).output.rectified

    @property
    def bias(self) -> Tensor | None:
        """(out), or None."""
        if self._norm is None:
            return self._bias
        scale, shift = self._norm.affine()
        return shift if self._bias is None else torch.addcmul(shift, scale, self._bias)

    @property
    def weight(self) -> Tensor:
        """Of the shape that torch gives it."""
        norm = self._norm
        if norm is None:
            return self._weight
        scale = norm.affine()[0]
        sources = (self._weight, *norm.sources())
        return self._cache.get("folded", lambda: self._weight * self._map.per_row(scale, self._weight), sources)

    def part(self, name: str, make: Callable[[Tensor], Tensor]) -> Tensor:
        """``make(weight)``, cached under ``name``."""
        sources = (self._weight, *(self._norm.sources() if self._norm else ()))
        return self._cache.get(f"{name} of folded" if self._norm else name, lambda: make(self.weight), sources)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b with another input, weight and bias; a new tensor."""
        return self._map.forward(x, weight, bias)

    def transposed(self, s: Tensor, weight: Tensor) -> Tensor:
        """Wᵀ s with another weight; a new tensor."""
        return self._map.transposed(s, weight, self.x)

    def back(self, s: Tensor) -> Tensor:
        """Wᵀ s with the layer's own weight; a new tensor."""
        # With a batch norm folded in, W is the layer's weight times a scale per output: scaling s is cheaper.
        s = s if self._norm is None else s * self.per_output(self._norm.affine()[0])
        return self._map.transposed(s, self._weight, self.x)

    def fan_in(self) -> Tensor:
        """The number of inputs of each output, in a shape that divides an output."""
        return self._map.fan_in(self.x, self._weight)

    def spread(self, s: Tensor) -> Tensor:
        """Wᵀ s with all weights 1; a new tensor."""
        return self._map.spread(s, self._weight, self.x)

    def per_output(self, values: Tensor) -> Tensor:
        """One value for each output channel, in a shape that multiplies an output."""
        return self._map.per_output(values)


class BatchNorm(RelevanceNode):
    """A batch norm in evaluation mode, folded into the layer before it where possible. Relevance passes.

    Attributes:
        may_fold: whether the composite lets it be one with the layer before it.
        output: what it returned.
    """

    def __init__(
        self,
        x: Tensor,
        statistics: tuple[Tensor, Tensor, float],
        weight: Tensor | None,
        bias: Tensor | None,
        may_fold: bool,
    ) -> None:
        self._mean, self._variance, self._epsilon = statistics
        self._weight, self._bias, self.may_fold = weight, bias, may_fold
        self._affine: tuple[Tensor, Tensor] | None = None
        facts_of(x).consumers.append(self)

    def set_output(self, y: Tensor) -> None:
        """Keep y, the output in the graph."""
        self.output, self._facts = SavedTensor(y), facts_of(y)
        self._facts.producer = self

    def vanishes_at_zero(self) -> bool:
        """See :class:`altprop.ops.lrp.facts.Consumer`."""
        return False

    def vanishes_below(self) -> bool:
        """See :class:`altprop.ops.lrp.facts.Consumer`."""
        return False

    def hand_back(self, R: Tensor) -> tuple[Tensor]:
        """R: where the two are one, the layer before it does the rest."""
        return (R,)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Its scale and shift for each channel."""
        if self._affine is None:
            scale = torch.rsqrt(self._variance + self._epsilon)
            if self._weight is not None:
                scale = scale * self._weight.detach()
            shift = -self._mean * scale
            self._affine = scale, shift if self._bias is None else shift + self._bias.detach()
        return self._affine

    def sources(self) -> tuple[Tensor, ...]:
        """What the scale depends on."""
        return (self._variance,) if self._weight is None else (self._variance, self._weight)
