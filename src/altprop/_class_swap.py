"""Give one module another class in place, and its own class back: how rules get a word in ``module(...)``."""

from __future__ import annotations

import copyreg
from functools import lru_cache
from typing import Any

from torch import nn


def swap_class(module: nn.Module, mixin: type) -> None:
    """Let ``module`` behave as ``mixin`` laid over its own class; its name, parameters and state stay."""
    module.__class__ = _swapped(type(module), mixin)


def restore_class(module: nn.Module, mixin: type) -> None:
    """Undo :func:`swap_class` with the same ``mixin``; a module that was never swapped is left alone."""
    if issubclass(type(module), _Swapped) and type(module)._mixin is mixin:
        module.__class__ = type(module)._original


class _Swapped:
    _mixin: type
    _original: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:  # noqa: PLW3201 - pickle's own protocol
        # The class is made at run time, so pickle and deepcopy are told how to make it again.
        constructor, arguments, *state = super().__reduce_ex__(protocol)
        if constructor is copyreg.__newobj__:
            return (_new, (self._original, self._mixin), *state)
        return (constructor, arguments, *state)


@lru_cache(maxsize=None)
def _swapped(original: type[nn.Module], mixin: type) -> type[nn.Module]:
    namespace = {
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "_mixin": mixin,
        "_original": original,
    }
    return type(original.__name__, (_Swapped, mixin, original), namespace)


def _new(original: type[nn.Module], mixin: type) -> nn.Module:
    swapped = _swapped(original, mixin)
    return swapped.__new__(swapped)
