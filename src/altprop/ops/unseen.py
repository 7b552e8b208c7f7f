"""The part of an autograd graph that no rule answered: from a tensor down to the nodes that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_HOOK = "BackwardHookFunctionBackward"
"""The node that ``nn.Module.register_full_backward_hook`` puts around a module: the identity, output by output."""


@dataclass(frozen=True)
class Edge:
    """Where credit leaves the unseen part.

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
    """Every edge from the unseen part below output ``number`` of ``node`` into what is known."""
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
