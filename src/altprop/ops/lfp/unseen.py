"""LFP's marks on autograd nodes, for tensors that come out of code the interceptor does not see.

A module's backward hook, an ``autograd.Function`` and TorchScript make new tensors, which bear no mark. From their node
down to the nodes that bear one there is a part of the graph that no rule answered. Through an identity the mark passes
on; otherwise what the unseen part hands back is multiplied by the factors that its sources lack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor

from altprop.ops.lfp.credit import SPIKES, is_recorded, times_factor, times_magnitude

if TYPE_CHECKING:
    from altprop.ops.lfp.pass_ import LFPPass

WEIGHT = -2.0
"""The mark of a tensor computed from parameters alone in this pass: they are scaled, so it is taken as it is."""

PARAMETER = -3.0
"""What :meth:`LFPPass.mark` says of a parameter, or of what stands in its place: it is to be scaled."""

_HOOK = "BackwardHookFunctionBackward"
"""The node that ``nn.Module.register_full_backward_hook`` puts around a module: the identity, output by output."""


@dataclass(frozen=True)
class Edge:
    """An edge of autograd's graph at which credit leaves an unseen part.

    Attributes:
        node: the unseen node.
        place: which of its sources.
        source: the known node, or the one that accumulates a leaf's gradient.
        number: which output of the source.
        is_hook: whether nothing but modules' hooks lies between: the value is unchanged.
    """

    node: Any
    place: int
    source: Any
    number: int
    is_hook: bool = False


def edges_below(node: Any, number: int, is_known: Callable[[Any, int], bool]) -> list[Edge]:
    """Every edge from the unseen part below output ``number`` of ``node`` to known nodes."""
    hooks_alone = node.name() == _HOOK
    if hooks_alone:
        source, output = node.next_functions[number]
        if source is None:
            return []
        if hasattr(source, "variable") or is_known(source, output):
            return [Edge(node, number, source, output, is_hook=True)]
        return edges_below(source, output, is_known)
    found: list[Edge] = []
    visited, stack = {node}, [node]
    while stack:
        current = stack.pop()
        for place, (source, output) in enumerate(current.next_functions):
            if source is None:
                continue
            if hasattr(source, "variable") or is_known(source, output):
                found.append(Edge(current, place, source, output))
            elif source not in visited:
                visited.add(source)
                stack.append(source)
    return found


def found_again(lfp: LFPPass, value: Tensor, node: Any) -> float:
    """The mark of a tensor from unseen code, whose sources' factors are applied where they enter that code."""
    known = read_mark(node, value.output_nr)
    if known is not None:
        mark, owner = known
        if mark > 0 or mark == SPIKES:
            lfp.pending.pop(id(owner() if owner is not None else None), None)
        lfp.defer(value, mark)
        return mark
    edges = edges_below(node, value.output_nr, lambda node, number: _is_known(lfp, node, number))
    passed_on = _mark_of(lfp, value, edges)
    if passed_on is not None:
        lfp.defer(value, passed_on)
        return passed_on
    mark = 0.0 if any(_edge_mark(lfp, edge) >= SPIKES for edge in edges) else _weight_or_not(value, edges)
    for edge in edges:
        _see_to(lfp, edge)
    lfp.defer(value, mark)
    return mark


def weight_of_unseen(lfp: LFPPass, value: Tensor) -> None:
    """Mark the result of a function of parameters alone as a weight, and scale those parameters' updates."""
    for edge in edges_below(value.grad_fn, value.output_nr, lambda node, number: _is_known(lfp, node, number)):
        _see_to(lfp, edge)
    lfp.defer(value, WEIGHT)


def _is_known(lfp: LFPPass, node: Any, number: int) -> bool:
    return read_mark(node, number) is not None or node._sequence_nr() < lfp.start


def _edge_mark(lfp: LFPPass, edge: Edge) -> float:
    known = read_mark(edge.source, edge.number)
    if known is not None:
        return known[0]
    variable = getattr(edge.source, "variable", None)
    return 0.0 if variable is not None and lfp.is_argument(variable) else PARAMETER


def _value(edge: Edge) -> Tensor | None:
    variable: Tensor | None = getattr(edge.source, "variable", None)
    if variable is not None:
        return variable
    known = read_mark(edge.source, edge.number)
    return known[1]() if known is not None and known[1] is not None else None


def _mark_of(lfp: LFPPass, value: Tensor, edges: list[Edge]) -> float | None:
    """The mark of what ``value`` is an identity of; None if it is no identity."""
    if len(edges) != 1:
        return None
    source = _value(edges[0])
    if source is None or not (edges[0].is_hook or _same(source, value)):
        return None
    mark = _edge_mark(lfp, edges[0])
    if mark == PARAMETER:
        return None
    lfp.pending.pop(id(source), None)
    return mark


def _weight_or_not(value: Tensor, edges: list[Edge]) -> float:
    # A function of parameters that has an input without gradient looks the same: a layer's output has another shape.
    sources = [_value(edge) for edge in edges]
    alike = any(source is None or source.shape == value.shape for source in sources)
    return WEIGHT if alike else 0.0


def _see_to(lfp: LFPPass, edge: Edge) -> None:
    """Apply a source's factor, or a parameter's scale, to what an unseen node hands back to it."""
    mark = _edge_mark(lfp, edge)
    seen = "altprop", "seen to", edge.place
    if mark in {0.0, WEIGHT} or seen in edge.node.metadata:
        return
    edge.node.metadata[seen] = True
    source = _value(edge)
    if source is None:
        if mark == PARAMETER:
            return
        raise RuntimeError(
            f"LFP(epsilon={lfp.epsilon}) cannot apply its factor to what {edge.node.name()} takes in, because the "
            f"value of that is gone. Use LFP(epsilon=0), or keep the tensor until the function's result is used."
        )
    if mark == PARAMETER:
        if lfp.acted is not None:
            lfp.acted(source)
        scaling = Scaling(source.detach(), lfp.minimum_scale)
        edge.node.register_hook(Replaced(edge.place, scaling))
        return
    lfp.pending.pop(id(source), None)
    edge.node.register_hook(Replaced(edge.place, OutputFactor(source.detach(), mark)))


def _same(source: Tensor, value: Tensor) -> bool:
    if source.shape != value.shape or source.dtype != value.dtype or source.device != value.device:
        return False
    if source.data_ptr() == value.data_ptr() and source.stride() == value.stride():
        return True
    return torch.equal(source, value)


def write_mark(node: Any, number: int, mark: float, owner: ref[Tensor] | None) -> None:
    """Store the mark of output ``number`` on its node, and a reference to the tensor if it lacks its factor."""
    node.metadata["altprop", number] = (mark, owner)


def read_mark(node: Any, number: int) -> tuple[float, ref[Tensor] | None] | None:
    """The mark of output ``number`` of a node, and its tensor; None if there is none."""
    known: tuple[float, ref[Tensor] | None] | None = node.metadata.get(("altprop", number))
    return known


class OutputFactor:
    """A hook that applies the deferred factor; 1 once the output was overwritten."""

    def __init__(self, z: Tensor, epsilon: float) -> None:
        self.z = z
        self.version = z._version
        self.epsilon = epsilon

    def __call__(self, g: Tensor | None) -> Tensor | None:
        """The credit with the factor."""
        if g is None or self.z._version != self.version:
            return g
        return times_factor(g, self.z, self.epsilon, is_recorded())


class Scaling:
    """A hook that scales a parameter's update."""

    def __init__(self, w: Tensor, minimum: float) -> None:
        self.w, self.minimum = w, minimum

    def __call__(self, g: Tensor) -> Tensor:
        """The gradient, scaled."""
        return times_magnitude(g, self.w, self.minimum)


class Replaced:
    """A hook on a node: changes what it hands back to one of its sources."""

    def __init__(self, place: int, change: Callable[[Tensor], Tensor | None]) -> None:
        self.place, self.change = place, change

    def __call__(self, handed: tuple[Any, ...], came: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What is handed back instead of ``handed``."""
        g = handed[self.place]
        if g is None:
            return None
        return (*handed[: self.place], self.change(g), *handed[self.place + 1 :])
