"""The witness of a forward pass: which nodes of autograd's graph no rule answered.

Autograd numbers the nodes that a thread makes. While a rule answers an operation, the nodes that come about are that
rule's: the witness keeps the numbers before and after. A node of the pass with any other number was made where no rule
looks: by a ``torch.autograd.Function`` of the model, a function of ``torch.jit.script``, an extension in C++.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import resolve_name

sequence_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
"""The number that autograd gives the next node on this thread."""

# Nodes that torch itself adds to the graph: views of overwritten tensors, module hooks.
_PLUMBING = {
    "AccumulateGrad", "AsStridedBackward0", "CopySlices", "ViewBackward0", "BackwardHookFunctionBackward",
    "torch::autograd::AccumulateGrad", "torch::autograd::CopySlices",
}  # fmt: skip
_OF_TORCH = ("torch.distributed.", "torch.nn.modules._functions")


class Witness:
    """Records the autograd nodes that rules make during one pass on one thread."""

    __slots__ = ("_answers", "start")

    def __init__(self) -> None:
        self.start = sequence_number()
        # Functions with the first of their nodes' numbers and the one after the last, counted from the start.
        self._answers: list[tuple[Any, int, int]] = []

    def note(self, function: Any, before: int, after: int) -> None:
        """Record that a rule answered ``function``, while autograd's number went from ``before`` to ``after``."""
        if after != before:
            self._answers.append((function, before - self.start, after - self.start))

    def is_within(self, node: Node) -> bool:
        """Whether ``node`` was made since the pass began."""
        return self.start <= number_of(node)

    def answered(self, node: Node) -> bool:
        """Whether ``node`` was made by a rule, by torch's plumbing or by altprop itself."""
        return self._answer(node) is not None or _is_plumbing(node)

    def function_of(self, node: Node) -> Any:
        """The function whose answer made ``node``; None if none did."""
        answer = self._answer(node)
        return answer[0] if answer is not None else None

    def _answer(self, node: Node) -> tuple[Any, int, int] | None:
        place = self._answers_before(node)
        answer = self._answers[place - 1] if place else None
        return answer if answer is not None and number_of(node) - self.start < answer[2] else None

    def _answers_before(self, node: Node) -> int:
        return bisect_right(self._answers, number_of(node) - self.start, key=itemgetter(1))

    def escapes(self, outputs: Iterable[Tensor], seen: dict[int, list[str]]) -> list[str]:
        """The names of operations between the outputs and the start of the pass that no rule answered.

        Args:
            outputs: what the pass returned.
            seen: what was found in the structures that were looked at already, which is added to: of each, the graph is
                walked once.

        Returns:
            A phrase for each, fit for a sentence.
        """
        structure = hash((*self._answers, sequence_number() - self.start))
        if structure in seen:
            return seen[structure]
        found: dict[str, None] = {}
        unnamed: dict[int, list[str]] = {}
        for node in self._nodes(outputs):
            if self.answered(node):
                continue
            function = getattr(type(node), "_forward_cls", None)
            if function is not None:
                found[f"{function.__qualname__}, a torch.autograd.Function"] = None
            else:
                unnamed.setdefault(self._answers_before(node), []).append(node.name())
        seen[structure] = [*found, *(self._phrase(place, names) for place, names in sorted(unnamed.items()))]
        return seen[structure]

    def _nodes(self, outputs: Iterable[Tensor]) -> Iterator[Node]:
        """Every node of the pass reachable from the outputs."""
        seen: set[Node] = set()
        reached = [output.grad_fn for output in outputs]
        while reached:
            node = reached.pop()
            if node is None or node in seen or not self.is_within(node):
                continue
            seen.add(node)
            yield node
            reached += [before for before, _ in node.next_functions]

    def _phrase(self, place: int, nodes: list[str]) -> str:
        kinds = sorted(set(nodes))
        shown = ", ".join(kinds[:4]) + (" and others" if len(kinds) > 4 else "")
        before = resolve_name(self._answers[place - 1][0]) if place else None
        where = f" after {before}" if before else ""
        return f"code that torch does not show (torch.jit.script, a C++ extension; its graph: {shown}){where}"


def number_of(node: Node) -> int:
    """The number that autograd gave ``node``; beyond all others for the node of a leaf."""
    number: int = node._sequence_nr()
    return number


def _is_plumbing(node: Node) -> bool:
    function = getattr(type(node), "_forward_cls", None)
    if function is None:
        return node.name() in _PLUMBING
    return str(function.__module__).startswith(("altprop.", *_OF_TORCH))
