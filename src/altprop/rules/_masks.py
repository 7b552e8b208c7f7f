"""Which positions of a batch of sequences are padding, read from the masks that the model is given."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altprop.rule import Attachment

_OF_TOKENS = {"attention_mask", "decoder_attention_mask", "encoder_attention_mask"}
_OF_PADDING = {"padding_mask", "key_padding_mask", "src_key_padding_mask", "tgt_key_padding_mask",
               "memory_key_padding_mask"}  # fmt: skip
_OF_PAIRS = {"attn_mask", "src_mask", "tgt_mask", "memory_mask", "head_mask", "cross_attn_head_mask"}


class MaskArgument(NamedTuple):
    """An argument of a module that holds a mask.

    Attributes:
        name: of the argument.
        place: among the positional ones.
        marks: ``"tokens"`` or ``"padding"``; ``""`` if the name does not tell.
    """

    name: str
    place: int
    marks: str


class Mask(NamedTuple):
    """A mask given to a module, and what it marks."""

    name: str
    value: Tensor
    marks: str


def takers_of_masks(model: nn.Module, named: str | None) -> list[tuple[nn.Module, list[MaskArgument]]]:
    """The outermost modules whose ``forward`` has arguments that are masks: known by name, or the one that is named.

    Args:
        model: searched from the outside inwards.
        named: the name of an argument; behind ``~`` that of one which marks padding.

    Raises:
        ValueError: no module has the argument that is named.
    """
    found: list[tuple[nn.Module, list[MaskArgument]]] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        arguments = [] if module in inside else _masks_among_arguments(module, named)
        if arguments:
            found.append((module, arguments))
            inside.update(module.modules())
    if named is not None and not found:
        raise ValueError(f"No module of this {type(model).__name__} has an argument {named!r}, which mask= names.")
    return found


def _masks_among_arguments(module: nn.Module, named: str | None) -> list[MaskArgument]:
    if type(module).forward is nn.Module.forward:
        return []
    names = list(signature(module.forward).parameters)
    if named is not None:
        name, marks = named.removeprefix("~"), "padding" if named.startswith("~") else "tokens"
        return [MaskArgument(name, names.index(name), marks)] if name in names else []
    return [
        MaskArgument(name, place, _marks(name))
        for place, name in enumerate(names)
        if "mask" in name and name not in _OF_PAIRS
    ]


def _marks(name: str) -> str:
    return "tokens" if name in _OF_TOKENS else "padding" if name in _OF_PADDING else ""


def masks_given(arguments: list[MaskArgument], args: Any, kwargs: Mapping[str, Any]) -> list[Mask]:
    """The masks among the arguments of a call, also within a mapping that is an argument."""
    packed = next((value for value in args if isinstance(value, Mapping)), {})
    found = []
    for name, place, marks in arguments:
        value = kwargs.get(name, packed.get(name, args[place] if place < len(args) else None))
        if isinstance(value, Tensor) and value.dim() == 2:
            found.append(Mask(name, value, marks))
    return found


def share_of(run: Any, h: torch.Size, layout: str, dtype: torch.dtype) -> Tensor | None:
    """What each position of ``h`` gets of a signal, of shape (batch, positions); None if no mask tells of padding.

    Where positions share the signal, its norm stays as it is among those that are no padding.
    """
    if not run.masks or len(h) != 3 or layout == "position":
        return None
    mask = _mask_of(run.attachment, run.masks, (h[0], h[1] if layout == "shared" else h[2]))
    if mask is None:
        return None
    key = id(mask.value), layout == "dense", dtype
    if key not in run.shares:
        run.shares[key] = _tokens(mask).to(dtype) if layout == "dense" else _share_of_each(mask, dtype)
    result: Tensor = run.shares[key]
    return result


def _mask_of(attachment: Attachment, masks: list[Mask], places: tuple[int, int]) -> Mask | None:
    """The mask of a hidden layer with so many samples and positions.

    Raises:
        ValueError: several masks fit.
    """
    fitting = {id(mask.value): mask for mask in masks if tuple(mask.value.shape) == places}
    telling = [mask for mask in fitting.values() if mask.marks]
    if len(telling) > 1:
        raise ValueError(
            f"{attachment.rule!r} cannot tell which of {', '.join(mask.name for mask in telling)} marks the padding of "
            f"a hidden layer with {places[1]} positions: each fits. Say mask=, the name of one of them."
        )
    if fitting and not telling and "mask" not in attachment.warned and not torch.compiler.is_compiling():
        name = next(iter(fitting.values())).name
        attachment.tell(
            "mask",
            f"{attachment.rule!r} takes all positions for tokens: it does not know what the argument {name!r} marks. "
            f"If it marks padding, say mask={name!r} (1 at tokens) or mask='~{name}' (True at padding).",
        )
    return telling[0] if telling else None


def _share_of_each(mask: Mask, dtype: torch.dtype) -> Tensor:
    """1/√(the number of tokens) at each token, and 0 at padding, of shape (batch, positions)."""
    real = _tokens(mask).to(dtype)
    return real / real.sum(1, keepdim=True).clamp(min=1).sqrt()


def _tokens(mask: Mask) -> Tensor:
    """True at each token and False at padding."""
    if mask.marks == "tokens":
        return mask.value > 0
    # Torch's convention: True is padding; floating-point masks are added to the scores.
    return mask.value == 0
