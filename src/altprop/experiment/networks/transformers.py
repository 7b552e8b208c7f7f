"""The transformers by name: one that reads images patch by patch, one that reads a text character by character."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altprop.experiment.errors import InputError

if TYPE_CHECKING:
    from altprop.experiment.networks.shapes import Shape

WIDTH, HEADS, BLOCKS, HIDDEN = 64, 4, 3, 128

Activation = Callable[[], nn.Module]


@dataclass(frozen=True)
class TransformerEntry:
    """A transformer that is known by a name.

    Attributes:
        build: makes its layers.
        inputs: what it takes, for the reader.
        summary: what it is, in a line.
    """

    build: Callable[[Shape, Activation], nn.Sequential]
    inputs: str
    summary: str


class Attention(nn.Module):
    """Self-attention with four heads, by torch's fused kernel.

    Args:
        causal: each position sees those before it alone.
    """

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.projections = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) to the same."""
        heads = self.projections(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        mixed: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """Attention and two layers at each position, both added to the residual stream (pre-norm)."""

    def __init__(self, activation: Activation, causal: bool) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), Attention(causal))
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, HIDDEN), activation(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) to the same."""
        x = x + self.attention(x)
        added: Tensor = x + self.mlp(x)
        return added


class Patches(nn.Module):
    """An image as a sequence: a vector for each patch, with its place, behind a vector that will hold the answer."""

    def __init__(self, channels: int, positions: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, WIDTH, patch, patch)
        self.answer = nn.Parameter(0.02 * torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, positions + 1, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, 1 + patches, width)."""
        patches = self.projection(images).flatten(2).transpose(1, 2)
        return torch.cat([self.answer.expand(len(patches), -1, -1), patches], 1) + self.places


class Characters(nn.Module):
    """A text as vectors, each with its place. Characters come as data sets hold all inputs: as floats."""

    def __init__(self, kinds: int, positions: int) -> None:
        super().__init__()
        self.kinds = nn.Embedding(kinds, WIDTH)
        self.places = nn.Embedding(positions, WIDTH)

    def forward(self, text: Tensor) -> Tensor:
        """(batch, positions) to (batch, positions, width)."""
        vectors: Tensor = self.kinds(text.long()) + self.places(torch.arange(text.shape[1], device=text.device))
        return vectors


class Position(nn.Module):
    """The vector at one position: the answer's."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) to (batch, width)."""
        return x[:, self.index]


def _vit(shape: Shape, activation: Activation) -> nn.Sequential:
    if len(shape.input) != 3 or min(shape.input[1:]) < 4:
        raise InputError(
            f"The model 'vit-tiny' takes images of at least 4×4 pixels, but inputs have the shape "
            f"{'×'.join(map(str, shape.input))}. Take hidden widths instead, such as 256-256, or other data."
        )
    channels, height, width = shape.input
    patch = max(2, min(height, width) // 7)
    patches = Patches(channels, (height // patch) * (width // patch), patch)
    return _network(patches, [Block(activation, causal=False) for _ in range(BLOCKS)], 0, shape.outputs)


def _gpt(shape: Shape, activation: Activation) -> nn.Sequential:
    if len(shape.input) != 1:
        raise InputError(
            f"The model 'gpt-tiny' reads text, but inputs have the shape {'×'.join(map(str, shape.input))}. Take the "
            f"data set 'python-text'."
        )
    characters = Characters(shape.outputs, shape.input[0])
    return _network(characters, [Block(activation, causal=True) for _ in range(BLOCKS)], -1, shape.outputs)


def _network(first: nn.Module, blocks: list[nn.Module], answer: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(first, *blocks, Position(answer), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, outputs))


TRANSFORMERS: dict[str, TransformerEntry] = {
    "vit-tiny": TransformerEntry(_vit, "images of 4×4 or more", "A vision transformer: 3 blocks of width 64, 4 heads."),
    "gpt-tiny": TransformerEntry(_gpt, "text (python-text)", "A GPT for characters: 3 blocks of width 64, 4 heads."),
}


def build_transformer(name: str, shape: Shape, *, activation: Activation, norm: str) -> nn.Sequential:
    """Build one of :data:`TRANSFORMERS`, with weights drawn from torch's generator.

    Raises:
        InputError: it cannot take such inputs, or another normalisation than its own is asked for.
    """
    if norm not in {"none", "layer"}:
        raise InputError(f"The model {name!r} has layer norms of its own: leave norm at 'none'.")
    return TRANSFORMERS[name].build(shape, activation)
