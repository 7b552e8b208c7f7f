"""The state of one forward pass under LRP."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from altprop.ops.lrp.facts import forget_constants
from altprop.ops.lrp.layer import Layer, WeightCache, WeightedSum, WeightedSumRule
from altprop.ops.lrp.nodes import Moved, RelevanceNode, nodes_of
from altprop.ops.module_kinds import CLASSES
from altprop.ops.tokens import Tokens

if TYPE_CHECKING:
    from altprop.explain.composites import Composite
    from altprop.explain.rules import Kind


_PAIRS = "pairs"


class LRPPass:
    """The state of one forward pass under LRP, which its operations share.

    Args:
        composite: which operation has which rule.
        default: the rule of layers with weights that the composite gives none.
        cache: what rules make of weights, kept from pass to pass.
        strict: whether an operation without a rule is an error.
        report: whether every operation counts the relevance that goes through it.
        warned: the warnings that were given already.
        seen: what no rule answered, in the structures of the graph that were looked through already.

    Attributes:
        reports: whether every operation counts the relevance that goes through it.
        inside: the names and modules that are running, the innermost last.
        operations: every operation that hands relevance back, in the order in which they ran.
        tokens: the integer inputs whose relevance is asked for, and what becomes of them.
    """

    def __init__(
        self,
        composite: Composite,
        default: WeightedSumRule,
        cache: WeightCache,
        *,
        strict: bool = False,
        report: bool = False,
        warned: set[str] | None = None,
        seen: dict[int, list[str]] | None = None,
    ) -> None:
        self.composite, self.cache = composite, cache
        self._default, self._strict, self.reports = default, strict, report
        self._warned = set() if warned is None else warned
        self.seen = {} if seen is None else seen
        self._asked: list[tuple[Layer, str]] | None = None if _PAIRS in self._warned else []
        cache.check()
        self.inside: list[tuple[str, nn.Module]] = []
        self.operations: list[tuple[Layer, RelevanceNode]] = []
        self.tokens = Tokens()

    @property
    def gradients(self) -> bool:
        """Whether operations that the composite gives no rule keep their ordinary gradient."""
        return self.composite.otherwise == "gradient"

    @property
    def epsilon(self) -> float:
        """The stabiliser of sums, normalisations and products that the composite gives no rule."""
        return self.composite.stabiliser

    @property
    def constant_attention(self) -> bool:
        """Whether attention weights are taken as constants."""
        return self.composite.attention == "cp"

    def layer(self, function: Callable[..., Any]) -> Layer:
        """The operation that calls ``function`` now."""
        name, module = self.inside[-1]
        called = getattr(function, "__name__", type(function).__name__)
        called = called.strip("_") if called.endswith("__") else called.rstrip("_")
        return Layer(name, module, called, CLASSES.get(called))

    def add(self, layer: Layer, node: RelevanceNode) -> None:
        """Record an operation that hands relevance back."""
        self.operations.append((layer, node))
        if self.reports:
            node.watch()

    def watch_move(self, function: Callable[..., Any], result: Any, sources: Collection[Any]) -> None:
        """In a report, count the relevance that moved values lose to constants among them.

        Args:
            function: what moved them.
            result: where they are now.
            sources: the nodes of autograd's graph that they come from.
        """
        if not self.reports:
            return
        node = Moved()
        node.watch()
        node.follow(nodes_of([part for part in tree_leaves(result) if isinstance(part, Tensor)]), sources)
        self.operations.append((self.layer(function), node))

    def watch_look_up(self, function: Callable[..., Any], vectors: Tensor, places: Tensor) -> None:
        """In a report, count the relevance of looked-up vectors that goes to tokens the model adds itself."""
        if not self.reports or vectors.grad_fn is None:
            return
        node, explained = Moved(), places != 0
        node.watch()
        vectors.grad_fn.register_hook(lambda handed, arrived: node.count(arrived[0], handed[0] * explained))
        self.operations.append((self.layer(function), node))

    def rule_for(self, layer: Layer, kind: Kind) -> Any:
        """The rule that the composite assigns to an operation; None if it assigns none."""
        if self._asked is not None:
            self._asked.append((layer, kind))
        return self.composite.rule_for(layer, kind)

    def check_pairs(self, model: nn.Module) -> None:
        """Warn, once per explainer, of pairs of the composite that match nothing in ``model``.

        Raises:
            ValueError: there is one, and ``strict`` is set.
        """
        if self._asked is None:
            return
        self._warned.add(_PAIRS)
        for told in self.composite.idle_pairs(model, self._asked):
            if self._strict:
                raise ValueError(told)
            warnings.warn(told, stacklevel=2)

    def assign_rules(self) -> None:
        """Assign each layer with weights its rule, when the forward pass is over."""
        sums = [(layer, node) for layer, node in self.operations if isinstance(node, WeightedSum)]
        if sums:
            sums[-1][0].last = True
        for layer, node in sums:
            node.rule = self.rule_for(layer, "layer") or self._default
            node.label = repr(node.rule)

    def close(self) -> None:
        """Release everything: operations and tensor facts refer to each other."""
        for _, node in self.operations:
            vars(node).clear()
        self.operations.clear()
        self.tokens.close()
        self.inside.clear()
        forget_constants()

    def unseen(self, name: str) -> None:
        """Warn of a part of the model whose backward pass no rule can replace.

        Raises:
            RuntimeError: that is forbidden.
        """
        if self.gradients:
            return
        told = f"LRP cannot see into {name}: it hands relevance back as it would a gradient."
        if self._strict:
            raise RuntimeError(f"{told} strict=True forbids that. Write it with torch's functions.")
        if name not in self._warned:
            self._warned.add(name)
            warnings.warn(f"{told} Write it with torch's functions, without detach().", stacklevel=2)

    def unknown(self, name: str) -> None:
        """Warn of an operation without a rule: its relevance is the gradient times the input.

        Raises:
            RuntimeError: that is forbidden.
        """
        if self._strict:
            where = self.inside[-1][0]
            raise RuntimeError(
                f"LRP has no rule for {name}, called in {f'module {where!r}' if where else 'the model itself'}, and "
                f"strict=True forbids the gradient in its place. Write it with operations that altprop.inspect knows, "
                f"or drop strict."
            )
        if name not in self._warned and not torch.compiler.is_compiling():
            self._warned.add(name)
            warnings.warn(
                f"LRP has no rule for {name}: its relevance is the gradient times the input. altprop.inspect lists "
                f"every such operation.",
                stacklevel=2,
            )
