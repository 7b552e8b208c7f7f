"""Find and replace tensors in what a model takes and returns: sequences, mappings, dataclasses, plain objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_DEPTH = 8  # deeper structures are no one's inputs or outputs, but somebody's state


def arguments_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Every tensor among the arguments of a call."""
    if not kwargs and len(args) == 1 and isinstance(args[0], Tensor):
        return [args[0]]  # the usual case, and the cheap one
    return list(tensors_in((args, kwargs)))


def tensors_in(value: Any, depth: int = _DEPTH) -> Iterator[Tensor]:
    """Every tensor in ``value``, in any container that can be looked into; a tensor that is there twice comes twice."""
    if isinstance(value, Tensor):
        yield value
    elif depth:
        for part in _parts(value).values():
            yield from tensors_in(part, depth - 1)


def replace_tensors(value: Any, change: Callable[[Tensor], Tensor], depth: int = _DEPTH) -> Any:
    """``value`` with each tensor in it changed.

    A container stays as it is where ``change`` returns the very tensor that it was given; otherwise tuples are made
    anew, and all others hold the new tensor.
    """
    if isinstance(value, Tensor):
        return change(value)
    if not depth:
        return value
    changed = {}
    for key, part in _parts(value).items():
        new = replace_tensors(part, change, depth - 1)
        if new is not part:
            changed[key] = new
    if not changed:
        return value
    if isinstance(value, tuple):
        parts = [changed.get(index, part) for index, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    for key, new in changed.items():
        if isinstance(value, list | Mapping):
            value[key] = new  # type: ignore[index]
        if not isinstance(value, list) and isinstance(key, str) and key in getattr(value, "__dict__", ()):
            object.__setattr__(value, key, new)
    return value


def _parts(value: Any) -> dict[Any, Any]:
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if isinstance(value, Mapping):
        return dict(value)
    if value is None or isinstance(value, int | float | str | bytes | type | nn.Module) or callable(value):
        return {}
    return dict(getattr(value, "__dict__", ()))
