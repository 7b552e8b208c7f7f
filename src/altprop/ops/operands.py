"""Turn operands given by torch's keyword names into positional ones: rules name them by the papers' symbols."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

# What torch.compile's tracer can follow: it cannot read signatures or schemas.
_COMPILED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), ("input", "weight", "bias")),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), ("input", "weight", "bias")),
    "prelu": ("input", "weight"),
    "embedding": ("input", "weight"),
    "scaled_dot_product_attention": ("query", "key", "value"),
    "bmm": ("input", "mat2"),
    "mm": ("input", "mat2"),
    "addmm": ("input", "mat1", "mat2"),
    "pow": ("input", "exponent"),
    "lerp": ("input", "end", "weight"),
    "where": ("condition", "input", "other"),
    "cat": ("tensors",),
    "stack": ("tensors",),
}
_ANY = ("input", "other")

_PLAIN = {bool, int, float, type(None)}


def by_place(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The arguments with operands given by name made positional.

    Args:
        function: the torch function that is called.
        args: its arguments by place.
        kwargs: its arguments by name, by torch's names.

    Returns:
        The same call: more arguments by place (with torch's defaults where one between was left out), fewer by name.

    Example:
        >>> from torch.nn import functional as F
        >>> x, w = torch.ones(1, 2), torch.ones(3, 2)
        >>> [len(part) for part in by_place(F.linear, (x,), {"weight": w})]
        [2, 0]
    """
    operands = {name for name, value in kwargs.items() if type(value) not in _PLAIN and _is_operand(value)}
    if not operands:
        return args, kwargs
    for names, defaults, by_name_alone in _orders(function):
        if operands <= {*names[len(args) :], *by_name_alone}:
            return _moved(names, defaults, args, kwargs)
    return args, kwargs


def by_place_traced(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """:func:`by_place` for the tracer of torch.compile, as far as it can follow."""
    return _moved(_COMPILED.get(getattr(function, "__name__", ""), _ANY), (), args, kwargs)


def _is_operand(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor)


def _moved(
    names: tuple[str, ...], defaults: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Move by name to by place, up to the last tensor and as long as nothing without a default is missing."""
    wanted = [place for place, name in enumerate(names) if place >= len(args) and _is_operand(kwargs.get(name))]
    if not wanted:
        return args, kwargs
    places, rest = list(args), dict(kwargs)
    for place in range(len(args), wanted[-1] + 1):
        if names[place] in rest:
            places.append(rest.pop(names[place]))
        elif place < len(defaults) and defaults[place] is not _NONE:
            places.append(defaults[place])
        else:
            return args, kwargs
    return tuple(places), rest


_NONE = object()

_Order = tuple[tuple[str, ...], tuple[Any, ...], tuple[str, ...]]
"""The names of arguments by place, their defaults, and the names of what is given by name alone."""


@lru_cache(maxsize=1024)
def _orders(function: Callable[..., Any]) -> list[_Order]:
    """The orders in which ``function`` takes its arguments, one for each form."""
    own = _of_python(function)
    return [own] if own else [*_of_schemas(getattr(function, "__name__", "").rstrip("_"))]


def _of_python(function: Callable[..., Any]) -> _Order | None:
    """The order of a function that is written in Python (many of torch.nn.functional)."""
    if not hasattr(function, "__code__"):
        return None
    every = inspect.signature(function).parameters.values()
    parameters = [p for p in every if p.kind is p.POSITIONAL_OR_KEYWORD]
    defaults = tuple(_NONE if p.default is p.empty else p.default for p in parameters)
    by_name_alone = tuple(p.name for p in every if p.kind is p.KEYWORD_ONLY)
    return tuple(p.name for p in parameters), defaults, by_name_alone


def _of_schemas(name: str) -> list[_Order]:
    """The orders of a function that is written in C++, from its schemas; ``self`` is ``input`` in Python."""
    for prefix in ("aten::", "aten::linalg_", "aten::special_", "aten::fft_"):
        schemas = torch._C._jit_get_schemas_for_operator(prefix + name)
        if schemas:
            break
    forms = []
    for schema in schemas:
        arguments = [argument for argument in schema.arguments if not argument.kwarg_only]
        names = tuple("input" if argument.name == "self" else argument.name for argument in arguments)
        defaults = tuple(a.default_value if a.has_default_value() else _NONE for a in arguments)
        forms.append((names, defaults, tuple(a.name for a in schema.arguments if a.kwarg_only)))
    return forms
