"""Activations at the output: a probability is explained by its logit.

Relevance passes through an activation unchanged, which is right as long as the activation has the sign of its input. A
log-softmax is negative where its logit is positive, a sigmoid positive where its logit is negative: handed on, their
values would explain the opposite of what was asked. So an explanation starts at the *pre-activation*, the input of the
first such activation of the *tail*: all that lies between it and the output, which may be other activations, views,
constant factors and summands, sums. The explained value is the tail's, with the activations left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from altprop._switches import with_gradients
from altprop.explain.targets import Target, is_relevance
from altprop.ops.lrp.layer import Layer
from altprop.ops.lrp.nodes import Pass, RelevanceNode, Sum
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.proportion import Proportion

_SUMS_OF_TWO = {"add", "radd", "sub", "subtract", "rsub"}
_SUMS = {"sum", "mean", "nansum", "nanmean", "cumsum", "index_add", "scatter_add"}
_LOGARITHMS = {"log", "log_softmax", "logsigmoid", "log_ndtr"}
_FACTORS, _QUOTIENTS = {"mul", "multiply", "rmul"}, {"div", "divide", "true_divide", "truediv"}
_DECREASING = {"neg", "negative", "erfc"}

# Autograd's nodes of functions that only move values.
_MOVES = {
    "Alias", "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Select", "Slice", "Permute", "Transpose",
    "T", "Expand", "Clone", "ToCopy", "Cat", "Stack", "Split", "SplitWithSizes", "UnsafeSplit", "Unbind", "Index",
    "IndexSelect", "Gather", "Flip", "Roll", "Diagonal", "AsStrided", "Unfold", "Repeat", "RepeatInterleave", "Where",
    "MaskedFill", "MaskedSelect", "ConstantPadNd", "Take", "Max", "Min", "Amax", "Amin", "Topk", "Sort", "Median",
    "Maximum", "Minimum", "CopySlices", "CopyBackwards",
}  # fmt: skip


class Tail:
    """What lies between the pre-activations and the output; empty if no activation there needs its pre-activation.

    Args:
        lrp: the forward pass; a rule that its composite gives to an activation prevails.
        source: where the explanation starts: the output, or an edge of the graph.

    Attributes:
        source: the same as an edge.
        starts: the edges of the activations whose pre-activations are explained; none if there is no tail.
        operations: the operations of the tail.
        nodes: the nodes of the tail.
    """

    def __init__(self, lrp: LRPPass, source: Tensor | GradientEdge) -> None:
        self.source = get_gradient_edge(source) if isinstance(source, Tensor) else source
        self.starts: list[GradientEdge] = []
        self.operations: list[RelevanceNode] = []
        self.nodes: set[Node] = set()
        self._values: list[Tensor] = []
        self._behind: list[GradientEdge] = []
        self._others: list[GradientEdge] = []
        self._lrp = lrp
        self._known: dict[tuple[Node, bool], bool] = {}
        if lrp.composite.seed == "value" and not lrp.gradients and self._leads(self.source.node):
            self._collect(self.source)

    def __bool__(self) -> bool:
        return bool(self.starts)

    # What belongs to it.

    def _leads(self, node: Node | None, beyond: bool = False) -> bool:
        """Whether the tail goes through ``node``: an activation that needs its pre-activation is it, or lies behind.

        Args:
            node: of the graph.
            beyond: whether such an activation lies between it and the output: sums are no part of the tail then.
        """
        if node is None:
            return False
        key = node, beyond
        if key not in self._known:
            self._known[key] = False
            self._known[key] = self._is_one(node) or self._goes_on(node, beyond)
        return self._known[key]

    @cached_property
    def _layers(self) -> dict[int, Layer]:
        return {id(operation): layer for layer, operation in self._lrp.operations}

    def _layer(self, operation: RelevanceNode) -> Layer:
        return self._layers[id(operation)]

    def _is_one(self, node: Node) -> bool:
        """Whether it is an activation that needs its pre-activation."""
        operation = getattr(node, "relevance_node", None)
        if operation is None or operation.before is None:
            return False
        layer = self._layer(operation)
        return all(self._lrp.rule_for(layer, kind) is None for kind in ("softmax", "activation"))

    def _goes_on(self, node: Node, beyond: bool) -> bool:
        """Whether values go through it one by one, or logarithms are summed; and the tail goes on behind it."""
        operation, before = getattr(node, "relevance_node", None), _before(node)
        if operation is None:
            kind = re.sub(r"(Backward)?\d*$", "", node.name().removeprefix("torch::autograd::"))
            moves = kind in _MOVES or (len(before) == 1 and _hands_on(node, before[0]))
            return moves and any(self._leads(one, beyond) for one in before)
        if isinstance(operation, Sum | Proportion):
            return self._adds(operation, before, beyond) and all(self._leads(one, beyond) for one in before)
        return type(operation) is Pass and self._slope(operation) is not None and self._leads(before[0], beyond)

    def _adds(self, operation: RelevanceNode, before: list[Node], beyond: bool) -> bool:
        """Whether it adds constants; or logarithms, sums of which are those of their pre-activations."""
        name = self._layer(operation).function
        if name in _SUMS_OF_TWO and len(before) == 1:
            return True
        return not beyond and name in _SUMS_OF_TWO | _SUMS and all(map(self._is_logarithm, before))

    def _is_logarithm(self, node: Node) -> bool:
        """Whether all activations that come next on the way back are logarithms."""
        if self._is_one(node):
            return self._layer(node.relevance_node).function in _LOGARITHMS  # type: ignore[attr-defined]
        return all(self._is_logarithm(one) for one in _before(node) if self._leads(one))

    def _slope(self, operation: RelevanceNode) -> Any:
        """The factor that replaces an activation or a product with a constant; None where the tail ends."""
        name = self._layer(operation).function
        if operation.scaled_by is None:
            return -1.0 if name in _DECREASING else 1.0
        place, other, is_constant = operation.scaled_by
        if name in _FACTORS and is_constant:
            return other
        if name in _QUOTIENTS and place == 0:
            return 1.0 / other if is_constant else torch.sign(other)  # a divisor of the model's own: normalised
        return None

    def _collect(self, edge: GradientEdge) -> None:
        """Walk through the whole tail, to its ends."""
        reached = [(edge, False)]
        while reached:
            edge, beyond = reached.pop()
            node = edge.node
            if node in self.nodes or edge in self._others:
                continue
            if not self._leads(node, beyond):
                self._others.append(edge)
                continue
            self.nodes.add(node)
            operation = getattr(node, "relevance_node", None)
            edges = [GradientEdge(one, number) for one, number in node.next_functions if one is not None]
            if operation is not None:
                self.operations.append(operation)
            beyond = beyond or self._is_one(node)
            if self._is_one(node) and not self._leads(edges[0].node, True):
                self.starts.append(edge)
                self._values.append(operation.before.get() * self._slope(operation))  # type: ignore[union-attr, arg-type]
                self._behind.append(edges[0])
            else:
                reached += [(one, beyond) for one in edges]

    # What it does.

    @contextmanager
    def _without_activations(self) -> Iterator[None]:
        """Let gradients flow through the tail within the block as if it had no activations."""
        try:
            for operation in self.operations:
                vars(operation)["backward"] = self._linear(operation)
            yield
        finally:
            for operation in self.operations:
                vars(operation).pop("backward", None)

    def _linear(self, operation: RelevanceNode) -> Callable[[Tensor], tuple[Tensor, ...]]:
        if isinstance(operation, Proportion | Sum):
            return operation.gradient
        slope = self._slope(operation)
        shape = getattr(operation, "_shape", None)

        def backward(R: Tensor) -> tuple[Tensor, ...]:
            R = R if isinstance(slope, float) and slope == 1.0 else R * slope
            return (R if shape is None or R.shape == shape else R.sum_to_size(shape),)

        return backward

    def relevance(self, mask: Tensor, output: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """The explained values, of the output's shape, and the relevance that starts at each of the :attr:`ends`.

        Args:
            mask: what is explained of the output: one at the target.
            output: its value.
        """
        parts = [_times(part, z) for part, z in zip(self._back(self.starts, mask), self._values, strict=True)]
        # Parts of the output that no activation contributes to start with their own value.
        others = self._grad([self.source], self._others, [mask * output]) if self._others else ()
        return _masked(mask, self._pushed(self.source, output)), [*parts, *others]

    @property
    def ends(self) -> list[GradientEdge]:
        """Where the relevance of the tail arrives: at its pre-activations, and at inputs of no activation."""
        return [*self._behind, *self._others]

    def within(self, edges: Sequence[Any], *, mask: Tensor, output: Tensor) -> list[Tensor | None]:
        """The relevance at edges within the tail, their contribution to the explained value; None at other edges."""
        found: list[Tensor | None] = []
        for edge in edges:
            if not isinstance(edge, GradientEdge) or edge.node not in self.nodes:
                found.append(None)
            elif edge == self.source:
                found.append(_masked(mask, self._pushed(edge, output)))
            else:
                (part,) = self._back([edge], mask)
                found.append(None if part is None else _times(part, self._pushed(edge, torch.zeros_like(part))))
        return found

    def _back(self, to: Sequence[GradientEdge], seed: Tensor) -> tuple[Tensor | None, ...]:
        with self._without_activations():
            return self._grad([self.source], to, [seed])

    def _pushed(self, edge: GradientEdge, own: Tensor) -> Tensor:
        """The value at an edge of the tail without its activations; ``own`` where no activation contributes."""
        if self.nodes == {edge.node}:
            return self._values[0]
        values = self._along(edge, own, self._values)
        if not self._others:
            return values
        reached = self._along(edge, own, [torch.rand_like(z) + 1.0 for z in self._values])
        return torch.where(reached == 0, own, values)

    @with_gradients
    def _along(self, edge: GradientEdge, like: Tensor, values: Sequence[Tensor]) -> Tensor:
        """Push values at the starts forward through the linear tail, by differentiating its backward pass."""
        with self._without_activations():
            v = torch.zeros_like(like).requires_grad_()
            back = self._grad([edge], self.starts, [v], create_graph=True)
            reached = [(part, z) for part, z in zip(back, values, strict=True) if part is not None]
            if not reached:
                return torch.zeros_like(like)
            parts, along = zip(*reached, strict=True)
            (forward,) = torch.autograd.grad(parts, [v], along)
        return forward.detach()

    @staticmethod
    def _grad(
        sources: list[GradientEdge], to: Sequence[GradientEdge], seeds: list[Tensor], create_graph: bool = False
    ) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(sources, to, seeds, retain_graph=True, create_graph=create_graph, allow_unused=True)


def _hands_on(node: Node, before: Node) -> bool:
    """Whether a function that LRP does not see, such as that of a hook, hands back what it gets."""
    if getattr(type(node), "_forward_cls", None) is None or len(node._input_metadata) != 1:
        return False
    about = node._input_metadata[0]
    v = torch.rand(about.shape, dtype=about.dtype, device=about.device)
    number = next(number for one, number in node.next_functions if one is before)
    edges = [GradientEdge(node, 0)], [GradientEdge(before, number)]
    (back,) = torch.autograd.grad(*edges, [v], retain_graph=True, allow_unused=True)
    return back is not None and back.shape == v.shape and torch.equal(back, v)


def _times(part: Tensor | None, z: Tensor) -> Tensor | None:
    return None if part is None else _masked(part, z)


def _masked(mask: Tensor, values: Tensor) -> Tensor:
    """The product, zero where the mask is: a model masks logits with -inf."""
    return torch.where(mask == 0, torch.zeros_like(mask), mask * values)


def _before(node: Node) -> list[Node]:
    return [before for before, _ in node.next_functions if before is not None]


@dataclass
class Start:
    """Where an explanation starts.

    Attributes:
        seed: the explained value at the target, elsewhere zero.
        ends: where relevance starts, and how much: at the output, or at its :class:`pre-activations <Tail>`.
        within: the relevance at those of these edges that lie between the output and its pre-activations.
        operations: the operations that lie there.
    """

    seed: Tensor
    ends: Sequence[tuple[Tensor | GradientEdge, Tensor | None]]
    within: Callable[[Sequence[Tensor | GradientEdge]], Sequence[Tensor | None]]
    operations: Sequence[RelevanceNode] = ()

    @classmethod
    def at(
        cls,
        lrp: LRPPass,
        source: Tensor | GradientEdge,
        value: Tensor,
        target: Target,
        relevance: Callable[[Tensor, Target, Any], Tensor],
    ) -> Self:
        """At a tensor of the graph; at its pre-activations, unless the relevance to start with is given.

        Args:
            lrp: the forward pass.
            source: what is explained, or its place in the graph.
            value: its value.
            target: what of it.
            relevance: how a target is understood: as :func:`altprop.explain.targets.relevance_at`.
        """
        tail = None if is_relevance(target) else Tail(lrp, source)
        if tail:
            return cls._behind(tail, relevance(value, target, "one"), value)
        seed = relevance(value, target, lrp.composite.seed)
        return cls(seed, [(source, seed)], lambda edges: [None] * len(edges))

    @classmethod
    def _behind(cls, tail: Tail, mask: Tensor, output: Tensor) -> Self:
        """At the pre-activations of an output.

        Args:
            tail: what lies between.
            mask: one at the target, elsewhere zero.
            output: the value of the output.
        """
        seed, relevances = tail.relevance(mask, output)
        within = partial(tail.within, mask=mask, output=output)
        return cls(seed, list(zip(tail.ends, relevances, strict=True)), within, tail.operations)
