"""Which axis is the batch: given by the user, or inferred from shapes where only one reading is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from altprop.rules._projections import Layout, Spread, layout_of

_KNOWN = "_altprop_direct_batch"


class Hidden(NamedTuple):
    """The axes of a hidden tensor.

    Attributes:
        name: of the module that it enters.
        shape: of the tensor.
        dims: of what enters the module by its kind, if it is a convolution: with batch and channels; else 0.
        channels_first: it enters a convolution.
    """

    name: str
    shape: torch.Size
    dims: int
    channels_first: bool


class _Known:
    """What earlier batches have established.

    Attributes:
        axis: the batch's, in the outputs.
        first: the names of the modules that are given the batch first.
    """

    def __init__(self) -> None:
        self.axis: int | None = None
        self.first: set[str] = set()


def clear(model: nn.Module) -> None:
    """Forget what earlier batches have established."""
    model.__dict__.pop(_KNOWN, None)


def batch_axis(model: nn.Module, rule: Any, source: torch.Size, hidden: Sequence[Hidden], spread: Spread) -> int:
    """The axis of the batch in what is projected.

    Args:
        model: the attached model, which remembers what a batch has shown.
        rule: the rule, with its ``batch_dim``.
        source: the shape of the outputs or of the one-hot targets.
        hidden: the hidden tensors that are taught.
        spread: for convolutions.

    Raises:
        ValueError: no reading fits, or several do and teach differently.
    """
    known = model.__dict__.get(_KNOWN) or _Known()
    told: int | None = rule.batch_dim
    if told is None and known.axis is not None and known.axis < len(source) - 1:
        told = known.axis
    if told is None:
        told = getattr(type(model), "_batch_dim", None)
    if len(source) == 2 and rule._source_is_targets:
        told = 0  # one class for each sample, whatever the outputs look like
    if told is not None and told >= len(source):
        raise ValueError(f"{rule!r} was told batch_dim={told}, but the outputs have the shape {tuple(source)}.")
    axes = [told] if told is not None else [0, 1] if len(source) > 2 else [0]
    for h in hidden:
        _check_has_batch(rule, h)
        fitting = [axis for axis in axes if layout_of(h.shape, source, axis, h.channels_first, spread)]
        if not fitting:
            raise ValueError(_mismatch(source, h, axes))
        axes = fitting
    if told is None and len(source) > 2:
        _check_unique(rule, source, hidden, axes)
    axis = axes[0]
    _check_batch_first(rule, known, source, hidden, axis, spread)
    if not torch.compiler.is_compiling():
        _learn(model, known, source, hidden, axis)
    return axis


def _check_has_batch(rule: Any, h: Hidden) -> None:
    if len(h.shape) < 2 or (h.dims and len(h.shape) == h.dims - 1):
        raise ValueError(
            f"{rule!r} needs a batch: what enters {h.name!r} has the shape {tuple(h.shape)}, that of one sample "
            f"without a batch. Call the model on x.unsqueeze(0)."
        )


def _mismatch(source: torch.Size, h: Hidden, axes: list[int]) -> str:
    batch = source[axes[0]]
    return (
        f"A direct rule needs the batch first in the outputs and in every hidden layer: it met outputs or targets of "
        f"shape {tuple(source)}, for a batch of {batch}, and a hidden layer of shape {tuple(h.shape)} at {h.name!r}. "
        f"If the batch is another dimension of the outputs, say batch_dim=. Otherwise name the modules to cut at with "
        f"blocks=[...], and build attention and recurrent layers with batch_first=True."
    )


def _by_sample(source: torch.Size, h: Hidden) -> bool:
    """Whether the teaching signal of ``h`` depends on which axis is the batch."""
    rows = source[0] * source[1]
    return not (source[:2] == h.shape[:2] and not h.channels_first) and h.shape[0] != rows


def _check_unique(rule: Any, source: torch.Size, hidden: Sequence[Hidden], axes: list[int]) -> None:
    by_sample = [h for h in hidden if _by_sample(source, h)]
    # With the second axis, what has a row for each of both speaks against it: the first may be positions of a table.
    mixed = axes == [1] and len(by_sample) < len(hidden)
    if by_sample and (len(axes) > 1 or mixed) and source[0] * source[1] > 1:
        raise ValueError(
            f"{rule!r} cannot tell which dimension of the outputs, of shape {tuple(source)}, is the batch, from what "
            f"enters {by_sample[0].name!r}, of shape {tuple(by_sample[0].shape)}. Say batch_dim=0, or batch_dim=1 for "
            f"outputs of shape (steps, batch, ...)."
        )


def _check_batch_first(
    rule: Any, known: _Known, source: torch.Size, hidden: Sequence[Hidden], axis: int, spread: Spread
) -> None:
    for h in hidden:
        batch = source[axis]
        square = len(h.shape) > 2 and not h.channels_first and h.shape[0] == h.shape[1] == batch > 1
        if not square or rule.batch_dim is not None or h.name in known.first:
            continue
        layout: Layout | None = layout_of(h.shape, source, axis, h.channels_first, spread)
        if layout == "shared":
            raise ValueError(
                f"{rule!r} cannot tell the batch from the positions in what enters {h.name!r}, of shape "
                f"{tuple(h.shape)}. Say batch_dim= (hidden layers have the batch first: batch_first=True), or begin "
                f"with a batch of another size."
            )


def _learn(model: nn.Module, known: _Known, source: torch.Size, hidden: Sequence[Hidden], axis: int) -> None:
    batch = source[axis]
    for h in hidden:
        if h.name not in known.first and len(h.shape) > 2 and h.shape[0] == batch != h.shape[1]:
            known.first.add(h.name)
            model.__dict__[_KNOWN] = known
    if known.axis is None and len(source) > 2 and source[0] != source[1] and any(_by_sample(source, h) for h in hidden):
        known.axis = axis
        model.__dict__[_KNOWN] = known
