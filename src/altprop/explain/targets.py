"""Targets: which of a model's outputs is explained, and the relevance it starts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Target = int | Tensor | tuple[int, ...] | Sequence[int] | Sequence[tuple[int, ...]] | None


def output_of(result: Any) -> Tensor:
    """The tensor to explain among the outputs of a model.

    Args:
        result: a tensor; an output of Hugging Face's models, of which it is the ``logits``; or a sequence, of which it
            is the first.

    Raises:
        TypeError: there is none.
    """
    named = result.get("logits") if isinstance(result, dict) else getattr(result, "logits", None)
    if named is None and isinstance(result, tuple | list) and result:
        named = result[0]
    output = result if isinstance(result, Tensor) else named
    if not isinstance(output, Tensor) or not output.is_floating_point() or not output.dim():
        what = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(result).__name__
        raise TypeError(
            f"LRP explains a model that returns a float tensor of shape (batch, ...), or an object with logits; this "
            f"one returned {what}. Wrap the model in a module that returns what is to be explained."
        )
    return output


def relevance_at(output: Tensor, target: Target, seed: Literal["value", "one"]) -> Tensor:
    """The relevance with which the explanation starts: zero but for the target.

    Args:
        output: (batch, ...), what the model returned.
        target: None for the largest output of each example; one index for all, or one for each example; a tuple of
            indices where an output has more dimensions, or a list of a tuple for each example; or a float tensor of the
            output's shape, which is the relevance itself. Negative indices count from the end, and indices that leave
            one element may be left out.
        seed: whether the relevance is the output's value there, or one.

    Returns:
        A tensor of the output's shape.

    Raises:
        ValueError: the target does not fit the output.
    """
    if isinstance(target, Tensor) and target.is_floating_point():
        if target.shape != output.shape:
            raise ValueError(
                f"A target of floats is the relevance at the output, of its shape {tuple(output.shape)}; got "
                f"{tuple(target.shape)}. Class indices are integers."
            )
        return target.to(output)
    mask = torch.zeros_like(output, memory_format=torch.contiguous_format)
    flat = mask.view(len(output), -1)
    flat.scatter_(1, _positions(output, target)[:, None], 1.0)
    return mask * output.detach() if seed == "value" else mask


def _positions(output: Tensor, target: Target) -> Tensor:
    """For each example the target's position in the flattened output."""
    batch, shape = len(output), tuple(output.shape[1:])
    if target is None:
        return output.detach().reshape(batch, -1).argmax(1)
    if not shape:
        raise ValueError("The model returns one number for each example: it is explained with target=None.")
    indices = _as_indices(target, output)
    given = indices.shape[1] if indices.dim() == 2 and len(indices) in {1, batch} else 0
    if not given or given > len(shape) or torch.Size(shape[given:]).numel() != 1:
        raise ValueError(
            f"The target {_shown(target)} does not fit an output of shape {tuple(output.shape)}: give one index, or "
            f"one for each of the {batch} examples"
            + (f", each a tuple of {len(shape)} indices." if len(shape) > 1 else ".")
        )
    sizes = torch.tensor(shape[:given], device=indices.device)
    outside = (indices < -sizes) | (indices >= sizes)
    if bool(outside.any()):
        example, dim = outside.nonzero()[0].tolist()
        raise ValueError(
            f"The target {int(indices[example, dim])} is out of range: the model has {shape[dim]} outputs"
            f"{f' in dimension {dim + 1}' if len(shape) > 1 else ''}, numbered from 0, or from the end by -1, -2, ..."
        )
    indices = torch.where(indices < 0, indices + sizes, indices)
    strides = [int(torch.Size(shape[dim + 1 :]).numel()) for dim in range(given)]
    return (indices * torch.tensor(strides, device=indices.device, dtype=torch.long)).sum(1).expand(batch)


def is_relevance(target: Target) -> bool:
    """Whether the target is the relevance to start with."""
    return isinstance(target, Tensor) and target.is_floating_point()


def relevance_within(value: Tensor, target: Target, seed: Any) -> Tensor:
    """As :func:`relevance_at`, where one index means a channel with all positions."""
    if value.dim() > 2 and _means_one_index(target, value):
        channels = value.flatten(2)
        picked = relevance_at(torch.ones_like(channels[..., 0]), target, "one")[..., None].expand_as(channels)
        return (picked * channels if seed == "value" else picked.clone()).view_as(value)
    return relevance_at(value, target, seed)


def _means_one_index(target: Target, output: Tensor) -> bool:
    """Whether ``target`` gives one index for all examples or one for each, whatever the dimensions of ``output``."""
    if target is None or is_relevance(target):
        return False
    return _as_indices(target, output).shape[1] == 1


def _as_indices(target: Any, output: Tensor) -> Tensor:
    """(1 or batch, dimensions of one output)."""
    dims = output.dim() - 1
    try:
        indices = torch.as_tensor(target, device=output.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The target {_shown(target)} is neither an index nor a list or tensor of them.") from error
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise ValueError(f"The target {_shown(target)} is no index: class indices are integers.")
    if indices.dim() == 0:
        return indices.long().view(1, 1)
    if isinstance(target, tuple) and indices.dim() == 1 and (dims > 1 or len(target) == dims):
        return indices.long()[None]
    return indices.long().view(len(indices), -1)


def _shown(target: Any) -> str:
    return f"of shape {tuple(target.shape)}" if isinstance(target, Tensor) and target.dim() else repr(target)
