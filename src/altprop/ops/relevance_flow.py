"""What is known of a tensor on its way through a network that is being explained, without a look at its values.

Two facts make LRP's rules cheaper by half: that a tensor has no negative entries (it comes out of a ReLU), and that no
relevance will come back to it where it is not positive (it goes into a ReLU and nowhere else, and the rules behind hand
relevance back in proportion to values). The first is known at once; the second is asked for in the backward pass, when
all that uses the tensor is known. Both hang on the tensor as an attribute, a :class:`Flow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from torch import Tensor

_FLOW = "_altprop_flow"


class Use(Protocol):
    """Something that takes a tensor in, and will hand relevance back to it."""

    def vanishes_at_zero(self) -> bool:
        """Whether no relevance comes back to entries that are zero."""

    def vanishes_below(self) -> bool:
        """Whether no relevance comes back to entries that are zero or negative."""


class _Fixed:
    """A use of which all is known."""

    def __init__(self, at_zero: bool) -> None:
        self._at_zero = at_zero

    def vanishes_at_zero(self) -> bool:
        return self._at_zero

    def vanishes_below(self) -> bool:
        return False


PROPORTIONAL = _Fixed(True)
"""Hands relevance back in proportion to the entry's value."""
OTHER = _Fixed(False)
"""Hands relevance back as it likes."""


class Flow:
    """What is known of one tensor.

    Attributes:
        nonnegative: that it has no negative entries.
        beyond_first: that a layer with weights lies between it and the input.
        producer: the layer that made it, as long as nothing has changed it since.
        uses: what takes it in.
        kept: where it is held for the backward pass.
    """

    __slots__ = ("beyond_first", "kept", "nonnegative", "producer", "uses")

    def __init__(self, nonnegative: bool = False, beyond_first: bool = True) -> None:
        self.nonnegative = nonnegative
        self.beyond_first = beyond_first
        self.producer: Any = None
        self.uses: list[Use] = []
        self.kept: list[Kept] = []

    def vanishes_at_zero(self) -> bool:
        """See :class:`Use`: a tensor that was only moved uses its source as it is used itself."""
        return all(use.vanishes_at_zero() for use in self.uses)

    def vanishes_below(self) -> bool:
        """See :class:`Use`."""
        return all(use.vanishes_below() for use in self.uses)


class Rectified:
    """The use that a ReLU makes of its input."""

    def __init__(self, output: Flow) -> None:
        self._output = output

    def vanishes_at_zero(self) -> bool:
        """Where the input is zero, so is the output."""
        return self._output.vanishes_at_zero()

    def vanishes_below(self) -> bool:
        """Where the input is negative, the output is zero."""
        return self._output.vanishes_at_zero()


def flow_of(tensor: Tensor) -> Flow:
    """What is known of ``tensor``; if nothing is any more, a new :class:`Flow` that says so."""
    known: tuple[Flow | None, int] = getattr(tensor, _FLOW, (None, 0))
    flow, version = known
    if flow is not None and version == tensor._version:
        return flow
    new = Flow()
    if flow is not None:
        # It was overwritten through another tensor that shares its memory.
        flow.uses.append(OTHER)
        new.beyond_first = flow.beyond_first
    set_flow(tensor, new)
    return new


def set_flow(tensor: Tensor, flow: Flow) -> None:
    """Let ``flow`` be what is known of ``tensor``, until something is written over it."""
    setattr(tensor, _FLOW, (flow, tensor._version))


class Kept:
    """A tensor held for the backward pass, whatever is written over it in the meantime."""

    __slots__ = ("rectified", "tensor", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()
        self.version = tensor._version
        self.rectified = False
        flow_of(tensor).kept.append(self)

    def was_rectified(self, tensor: Tensor) -> None:
        """Take note that the negative entries were set to zero, and nothing else changed."""
        self.rectified, self.version = True, tensor._version

    def get(self) -> Tensor:
        """The tensor as it was, or with its negative entries at zero if :attr:`rectified` says so.

        Raises:
            RuntimeError: it was overwritten through another tensor that shares its memory.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                f"A tensor of shape {tuple(self.tensor.shape)} that its relevance depends on was overwritten in place, "
                f"through a view of it. Write that operation of the model out of place."
            )
        return self.tensor


def before_overwriting(tensor: Tensor, *, copy: bool = False) -> Tensor | None:
    """Let all that holds ``tensor`` for the backward pass keep a copy, because it is about to be overwritten.

    Args:
        tensor: what is about to be overwritten.
        copy: whether a copy is wanted in any case.

    Returns:
        The copy, if one was made.
    """
    holders = flow_of(tensor).kept
    if not holders and not copy:
        return None
    saved = tensor.detach().clone()
    for kept in holders:
        kept.tensor, kept.version = saved, saved._version
    holders.clear()
    return saved


def before_rectifying(tensor: Tensor) -> Kept | None:
    """Like :func:`before_overwriting` for a ReLU in place, which the layer that made ``tensor`` can do with.

    Returns:
        What that layer holds, if it does: to be told :meth:`Kept.was_rectified`.
    """
    flow = flow_of(tensor)
    own: Kept | None = getattr(flow.producer, "output", None)
    if own in flow.kept:
        flow.kept.remove(own)
    else:
        own = None
    before_overwriting(tensor)
    return own


def derived(inputs: Iterable[Tensor], *, nonnegative: bool = False, use: Use | None = None) -> Flow:
    """The flow of a tensor made from ``inputs``, which learn of their use.

    Args:
        inputs: what it is made from.
        nonnegative: that it has no negative entries.
        use: how the inputs are used; by default as the new tensor is, which was moved from them.
    """
    flow = Flow(nonnegative, beyond_first=False)
    for tensor in inputs:
        source = flow_of(tensor)
        flow.beyond_first = flow.beyond_first or source.beyond_first
        source.uses.append(flow if use is None else use)
    return flow
