"""Give one module another class in place, and its own class back: how rules get a word in ``module(...)``."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn


def swap_class(module: nn.Module, mixin: type) -> None:
    """Let ``module`` behave as ``mixin`` laid over its own class; its name, parameters and state stay."""
    cls: Any = type(module)
    module.__class__ = _swapped(cls, mixin)


def restore_class(module: nn.Module, mixin: type) -> None:
    """Undo :func:`swap_class` with the same ``mixin``; a module that was never swapped is left alone."""
    cls: Any = type(module)
    if issubclass(cls, _Swapped) and cls._mixin is mixin:
        module.__class__ = cls._original


class _Swapped:
    _mixin: type
    _original: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so pickle and deepcopy are told how to make it again.
        reduced: Any = super().__reduce_ex__(protocol)
        return (_new, (self._original, self._mixin), *reduced[2:])


@cache
def _swapped(original: Any, mixin: type) -> Any:
    namespace = {
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "_mixin": mixin,
        "_original": original,
    }
    return type(original.__name__, (_Swapped, mixin, original), namespace)


def _new(original: Any, mixin: type) -> nn.Module:
    swapped = _swapped(original, mixin)
    module: nn.Module = swapped.__new__(swapped)
    return module
