"""Static facts about the tensors of a network that is explained, known without looking at values.

Two facts make LRP's rules cheaper by half: that a tensor has no negative entries (it comes out of a ReLU), and that no
relevance will come back to it where it is not positive (it goes into a ReLU and nowhere else, and the rules behind hand
relevance back in proportion to values). The first is known at once; the second is asked for in the backward pass, when
all that uses the tensor is known. Both hang on the tensor as an attribute, a :class:`TensorFacts`, and on its node in
autograd's graph, where they can be found again when the tensor has passed through something that LRP does not see.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import Node

_FACTS, _SAVED = "_altprop_facts", "_altprop_saved"


class Consumer(Protocol):
    """An operation that takes a tensor in and will hand relevance back to it."""

    def vanishes_at_zero(self) -> bool:
        """Whether no relevance comes back to entries that are zero."""

    def vanishes_below(self) -> bool:
        """Whether no relevance comes back to entries that are zero or negative."""


class _Fixed:
    """A consumer whose behaviour is known from the start."""

    def __init__(self, at_zero: bool) -> None:
        self._at_zero = at_zero

    def vanishes_at_zero(self) -> bool:
        return self._at_zero

    def vanishes_below(self) -> bool:
        return False


PROPORTIONAL = _Fixed(True)
"""Hands relevance back in proportion to the entry's value."""
ANYWHERE = _Fixed(False)
"""May send relevance to entries that are zero."""


class TensorFacts:
    """The facts known about one tensor.

    Attributes:
        nonnegative: that it has no negative entries.
        beyond_first: that a layer with weights lies between it and the input.
        producer: the layer that made it, as long as nothing has changed it since.
        consumers: what takes it in.
    """

    __slots__ = ("beyond_first", "consumers", "nonnegative", "producer")

    def __init__(self, nonnegative: bool = False, beyond_first: bool = True) -> None:
        self.nonnegative = nonnegative
        self.beyond_first = beyond_first
        self.producer: Any = None
        self.consumers: list[Consumer] = []

    def vanishes_at_zero(self) -> bool:
        """See :class:`Consumer`: a tensor that was only moved uses its source as it is used itself."""
        return all(consumer.vanishes_at_zero() for consumer in self.consumers)

    def vanishes_below(self) -> bool:
        """See :class:`Consumer`."""
        return all(consumer.vanishes_below() for consumer in self.consumers)


class Rectified:
    """A ReLU as the consumer of its input."""

    def __init__(self, output: TensorFacts) -> None:
        self._output = output

    def vanishes_at_zero(self) -> bool:
        """Where the input is zero, so is the output."""
        return self._output.vanishes_at_zero()

    def vanishes_below(self) -> bool:
        """Where the input is negative, the output is zero."""
        return self._output.vanishes_at_zero()


def facts_of(tensor: Tensor) -> TensorFacts:
    """The facts of ``tensor``, or of its sources if it came out of code that LRP does not see."""
    known: _Known | None = getattr(tensor, _FACTS, None)
    if known is not None and known[0] is not None and known[1] == tensor._version:
        return known[0]
    return _recovered(tensor, known) or TensorFacts()


def set_facts(tensor: Tensor, facts: TensorFacts) -> None:
    """Attach ``facts`` to ``tensor``, until it is overwritten."""
    setattr(tensor, _FACTS, (facts, tensor._version))
    node = tensor.grad_fn
    if node is not None:
        _metadata(node)[_FACTS] = facts


def is_followed(tensor: Tensor) -> bool:
    """Whether ``tensor``, no leaf of the graph, depends on an explained input and not on parameters alone."""
    known: _Known | None = getattr(tensor, _FACTS, None)
    if known is not None and (known[0] is not None or known[1] == version_of(tensor)):
        return known[0] is not None
    return _recovered(tensor, known) is not None


_Known = tuple[TensorFacts | None, int]


def version_of(tensor: Tensor) -> int:
    """The tensor's version counter; -1 for tensors made in inference mode, which have none."""
    try:
        return tensor._version
    except RuntimeError:
        return -1


def _recovered(tensor: Tensor, known: _Known | None) -> TensorFacts | None:
    """The facts of a tensor from unseen code, recovered from the graph; None if it depends on no input."""
    sources = _sources(tensor.grad_fn)
    stale = known[0] if known is not None else None
    if stale is not None and stale not in sources:
        sources.append(stale)
    if not sources:
        setattr(tensor, _FACTS, (None, version_of(tensor)))
        return None
    if stale is None and len(sources) == 1 and _is_unchanged(tensor, sources[0]):
        facts = sources[0]
    else:
        facts = TensorFacts(beyond_first=any(source.beyond_first for source in sources))
        for source in sources:
            source.consumers.append(ANYWHERE)
    set_facts(tensor, facts)
    return facts


def _sources(node: Node | None) -> list[TensorFacts]:
    """The facts of the nearest tensors on the way back from ``node``."""
    found: list[TensorFacts] = []
    reached, seen = [node], set()
    while reached:
        node = reached.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        facts = _metadata(node).get(_FACTS)
        if facts is None:
            reached += [before for before, _ in node.next_functions]
        elif facts not in found:
            found.append(facts)
    return found


def _metadata(node: Node) -> dict[str, Any]:
    metadata: Any = node.metadata  # a property, which torch declares as a method
    return metadata  # type: ignore[no-any-return]


def _is_unchanged(tensor: Tensor, facts: TensorFacts) -> bool:
    """Whether the values are still those that a layer returned."""
    output: SavedTensor | None = getattr(facts.producer, "output", None)
    if output is None or output.tensor.shape != tensor.shape or version_of(output.tensor) != output.version:
        return False
    same = output.tensor.data_ptr() == tensor.data_ptr() and output.tensor.stride() == tensor.stride()
    return same or torch.equal(output.tensor, tensor)


class SavedTensor:
    """A tensor saved for the backward pass, which survives being overwritten in the meantime."""

    __slots__ = ("rectified", "tensor", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()
        self.version = version_of(tensor)
        self.rectified = False
        _holders(tensor).append(self)

    def was_rectified(self, tensor: Tensor) -> None:
        """Note that the negative entries were set to zero, and nothing else changed."""
        self.rectified, self.version = True, version_of(tensor)
        _holders(tensor).append(self)

    def get(self) -> Tensor:
        """The tensor as it was, or with its negative entries at zero if :attr:`rectified` says so.

        Raises:
            RuntimeError: it was overwritten by code that LRP does not see.
        """
        if version_of(self.tensor) != self.version:
            raise RuntimeError(
                f"A tensor of shape {tuple(self.tensor.shape)} that its relevance depends on was overwritten in place, "
                f"by code that LRP does not see (a C++ extension, or under torch.no_grad()). Write that operation of "
                f"the model out of place."
            )
        return self.tensor


class _Constants(threading.local):
    """Constants to which a list of holders was attached, to be removed again."""

    def __init__(self) -> None:
        self.marked: list[Tensor] = []


_constants = _Constants()


def _holders(tensor: Tensor) -> list[SavedTensor]:
    """The saved tensors that share memory with ``tensor``, directly or through another view."""
    root = tensor if tensor._base is None else tensor._base
    holders: list[SavedTensor] | None = getattr(root, _SAVED, None)
    if holders is None:
        holders = []
        setattr(root, _SAVED, holders)
        if root.is_leaf:
            _constants.marked.append(root)
    return holders


def forget_constants() -> None:
    """Remove attributes from tensors that outlive the forward pass, such as parameters."""
    while _constants.marked:
        tensor = _constants.marked.pop()
        if hasattr(tensor, _SAVED):
            delattr(tensor, _SAVED)


def before_overwriting(tensor: Tensor, *, copy: bool = False) -> Tensor | None:
    """Copy what the saved tensors need of ``tensor``, which is about to be overwritten.

    Args:
        tensor: what is about to be overwritten.
        copy: whether a copy is wanted in any case.

    Returns:
        The copy, if it was wanted.
    """
    holders = _holders(tensor)
    saved = tensor.detach().clone() if copy else None
    copies = {} if saved is None else {_place(tensor): saved}
    for kept in holders:
        if version_of(kept.tensor) != kept.version:
            continue  # too late
        place = _place(kept.tensor)
        if place not in copies:
            copies[place] = kept.tensor.clone()
        kept.tensor, kept.version = copies[place], copies[place]._version
    holders.clear()
    return saved


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def before_rectifying(tensor: Tensor) -> SavedTensor | None:
    """:func:`before_overwriting` for an in-place ReLU, which needs no copy for the layer that made ``tensor``.

    Returns:
        What that layer holds, if it does: to be told :meth:`SavedTensor.was_rectified`.
    """
    holders = _holders(tensor)
    own: SavedTensor | None = getattr(facts_of(tensor).producer, "output", None)
    if own in holders and _place(own.tensor) == _place(tensor):
        holders.remove(own)
    else:
        own = None
    before_overwriting(tensor)
    return own


def facts_from(inputs: Iterable[Tensor], *, nonnegative: bool = False, consumer: Consumer | None = None) -> TensorFacts:
    """The facts of a tensor made from ``inputs``, whose facts take note of the new consumer.

    Args:
        inputs: what it is made from.
        nonnegative: that it has no negative entries.
        consumer: what takes the inputs in; by default the new tensor, to which they were moved.
    """
    facts = TensorFacts(nonnegative, beyond_first=False)
    for tensor in inputs:
        source = facts_of(tensor)
        facts.beyond_first = facts.beyond_first or source.beyond_first
        source.consumers.append(facts if consumer is None else consumer)
    return facts
