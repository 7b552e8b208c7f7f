"""Find the network's output among the tensors that a model returns, and check that the loss reaches it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from altprop.rule import Attachment, Rule


def rebuild(output: Any, join: Callable[[list[Tensor], list[str]], list[Tensor]]) -> Any:
    """What a model returned, with its floating-point tensors passed through ``join``, which gets their names too."""
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping | type):
        fields = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return dataclasses.replace(output, **rebuild(fields, join))
    leaves, structure = tree_flatten(output)
    names = _names(output, leaves)
    found: dict[int, tuple[Tensor, str]] = {}  # a tensor may be returned under two names
    for leaf, name in zip(leaves, names, strict=True):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and (id(leaf) not in found or name == "logits"):
            found[id(leaf)] = leaf, name
    joined = join([leaf for leaf, _ in found.values()], [name for _, name in found.values()])
    instead = dict(zip(found, joined, strict=True))
    return tree_unflatten([instead.get(id(leaf), leaf) for leaf in leaves], structure)


def _names(output: Any, leaves: list[Any]) -> list[str]:
    """By leaf: its key, field or place in what the model returned; within another container that of the container."""
    if isinstance(output, Mapping):
        parts = [(str(key), value) for key, value in output.items()]
    elif hasattr(output, "_fields"):
        parts = [(name, getattr(output, name)) for name in output._fields]
    else:
        parts = [(str(place), value) for place, value in enumerate(output if isinstance(output, tuple | list) else ())]
    by_identity = {id(value): name for name, value in parts}
    containers = [(name, value) for name, value in parts if not isinstance(value, Tensor)]
    inner = {id(leaf): name for name, value in containers for leaf in tree_flatten(value)[0]}
    return [by_identity.get(id(leaf), inner.get(id(leaf), "") + "...") for leaf in leaves]


def chosen_of(output: Any, tensors: list[Tensor], names: list[str], rule: Rule) -> int:
    """The place of the network's output among ``tensors``.

    It is the only one, or the one called logits, or the first; a dict has no first.

    Raises:
        ValueError: there is none, or it is not clear which, or it is a loss.
    """
    if not tensors:
        raise ValueError(f"{rule!r} finds no floating-point tensor in the output of the model, a {type(output)}.")
    for tensor, name in zip(tensors, names, strict=True):
        if name == "loss" and tensor.requires_grad:
            check_not_a_loss(tensor, rule)
    if "logits" in names:
        return names.index("logits")
    candidates = [place for place, tensor in enumerate(tensors) if tensor.requires_grad] or list(range(len(tensors)))
    unordered = isinstance(output, Mapping) and not dataclasses.is_dataclass(output)
    outermost = [place for place in candidates if not names[place].endswith("...")]
    if unordered and len(outermost) > 1:
        raise ValueError(
            f"The model returns {', '.join(repr(names[place]) for place in outermost)}, and {rule!r} cannot tell which "
            f"is the network's output. Name the module that computes it: {type(rule).__name__}(output=...)."
        )
    chosen = (outermost or candidates)[0]
    check_not_a_loss(tensors[chosen], rule)
    return chosen


def check_not_a_loss(output: Tensor, rule: Rule) -> None:
    """Raise a ValueError if the network's output is a single number."""
    if output.dim() == 0:
        raise ValueError(
            f"The output of the model is a single number, as if it returned its loss, so {rule!r} does not see the "
            f"error of each output. Name the module whose output is the network's: {type(rule).__name__}(output=...)."
        )


class Reached:
    """Warns if the loss reaches other outputs than the one whose error is projected.

    Args:
        attachment: of the model.
        names: of the outputs.
        chosen: the place of the network's output among them.
        direct: the places of those that are hidden layers themselves: a loss on them teaches them, as it should.
    """

    def __init__(self, attachment: Attachment, names: list[str], chosen: int, direct: set[int]) -> None:
        self.attachment = attachment
        self.names = names
        self.chosen = chosen
        self.direct = direct

    def __call__(self, reached: list[int]) -> None:
        """Warn if the loss reaches other outputs.

        Raises:
            RuntimeError: it does not reach the network's output.
        """
        rule = self.attachment.rule
        kind = type(rule).__name__
        others = ", ".join(repr(self.names[place]) for place in reached if place not in {self.chosen, *self.direct})
        if not others:
            return
        if self.chosen not in reached:
            raise RuntimeError(
                f"The loss reaches the output {others} of the model, but not {self.names[self.chosen]!r}, whose error "
                f"{rule!r} projects to the hidden layers. Name the module whose output the loss is taken of: "
                f"{kind}(output=...)."
            )
        self.attachment.tell(
            "output",
            f"The loss reaches the output {others} of the model too: its error teaches its own last block alone, "
            f"for {rule!r} projects the error of {self.names[self.chosen]!r} to the hidden layers. Name another "
            f"module's output with {kind}(output=...).",
        )


def tracks_who_is_reached(outputs: int) -> bool:
    """Whether a node can tell which of its outputs the loss reaches: in compiled code all seem reached."""
    return outputs > 1 and not torch.compiler.is_compiling()
