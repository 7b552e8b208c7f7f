"""Inputs cut into patches: their relevance, their order, and the baseline that replaces them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

Order = Literal["most", "least", "random"]
Baseline = float | Tensor | Callable[[Tensor], Tensor] | Literal["mean", "zero", "uniform", "blur"]


class Regions:
    """Inputs of one shape, cut into patches that do not overlap; those at the far edges may be smaller.

    Args:
        positions: the sizes of the inputs' dimensions of positions, without those of examples and channels.
        patch_size: of the patches, in each of these dimensions.

    Attributes:
        count: the number of patches.
    """

    def __init__(self, positions: torch.Size, patch_size: int | tuple[int, ...]) -> None:
        sizes = (patch_size,) * len(positions) if isinstance(patch_size, int) else patch_size
        if len(sizes) != len(positions) or min(sizes) < 1:
            raise ValueError(
                f"patch_size must be at least 1, one number or one for each dimension of positions, which are "
                f"{tuple(positions)}; got {patch_size}."
            )
        index, self.count = torch.zeros(positions, dtype=torch.long), 1
        for dim, (length, size) in enumerate(zip(positions, sizes, strict=True)):
            along = torch.arange(length).div(size, rounding_mode="floor")
            patches = int(along[-1]) + 1
            index = index * patches + along.view(-1, *[1] * (len(positions) - 1 - dim))
            self.count *= patches
        self._index = index  # the patch of each position

    def relevance(self, relevance: Tensor) -> Tensor:
        """The relevance of each patch: the sum over its channels and positions.

        Args:
            relevance: of shape (batch, channels, *positions).

        Returns:
            Of shape (batch, patches).
        """
        flat = relevance.sum(1).flatten(1)
        index = self._index.to(flat.device).flatten()
        return flat.new_zeros(len(flat), self.count).index_add_(1, index, flat)

    def covered(self, ranks: Tensor, count: int) -> Tensor:
        """Which positions lie in the first ``count`` patches, of shape (batch, 1, *positions).

        Args:
            ranks: the place of each patch in the order, of shape (batch, patches).
            count: how many patches.
        """
        return (ranks < count)[:, self._index.to(ranks.device)].unsqueeze(1)


def ranks_of(relevance: Tensor, order: Order, generator: torch.Generator) -> Tensor:
    """The place of each patch in the order in which they are flipped.

    Args:
        relevance: of each patch, of shape (batch, patches).
        order: the most relevant first, the least relevant first, or at random. Where several are equally relevant, the
            order among them is drawn too: an explanation gets nothing for what it does not say.
        generator: of the CPU; draws.

    Returns:
        Of the same shape; 0 is the first.
    """
    if order not in get_args(Order):
        raise ValueError(f"order must be one of {', '.join(map(repr, get_args(Order)))}, got {order!r}.")
    shuffled = torch.rand(relevance.shape, generator=generator).argsort(1).to(relevance.device)
    if order == "random":
        relevance = torch.zeros_like(relevance)
    sequence = relevance.gather(1, shuffled).argsort(dim=1, descending=order == "most", stable=True)
    return shuffled.gather(1, sequence).argsort(1)


def baseline_of(inputs: Tensor, baseline: Baseline, generator: torch.Generator) -> Tensor:
    """The baseline that replaces the inputs where they are flipped, of their shape.

    Args:
        inputs: of shape (batch, channels, *positions).
        baseline: see :func:`altprop.explain.evaluation.pixel_flipping`.
        generator: of the CPU; draws the noise.
    """
    positions = tuple(range(2, inputs.dim()))
    if callable(baseline):
        baseline = baseline(inputs)
    if isinstance(baseline, int | float | Tensor):
        return torch.as_tensor(baseline, dtype=inputs.dtype, device=inputs.device).expand_as(inputs)
    if baseline == "zero":
        return torch.zeros_like(inputs)
    if baseline == "mean":
        return inputs.mean(positions, keepdim=True).expand_as(inputs)
    if baseline == "uniform":
        low, high = inputs.amin(positions, keepdim=True), inputs.amax(positions, keepdim=True)
        noise = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype).to(inputs.device)
        return low + (high - low) * noise
    if baseline == "blur":
        return _blurred(inputs)
    raise ValueError(
        f"baseline must be 'mean', 'zero', 'uniform', 'blur', a number, a tensor or a function of the inputs, got "
        f"{baseline!r}."
    )


def _blurred(inputs: Tensor) -> Tensor:
    """The inputs under a Gaussian whose deviation is 1/16 of each side, normalised anew at the edges."""
    for dim in range(2, inputs.dim()):
        place = torch.arange(inputs.shape[dim], dtype=inputs.dtype, device=inputs.device)
        deviation = max(1.0, inputs.shape[dim] / 16)
        kernel = torch.softmax(-((place[:, None] - place) / deviation).square() / 2, dim=1)
        inputs = (inputs.movedim(dim, -1) @ kernel.t()).movedim(-1, dim)
    return inputs
