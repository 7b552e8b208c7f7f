"""Swap the class of one module in place, and swap it back: how a rule intercepts ``module(...)``."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from torch import nn


def swap_class(module: nn.Module, mixin: type) -> None:
    """Put ``mixin`` in front of the class of ``module``; its name, parameters and state stay."""
    cls: Any = type(module)
    module.__class__ = _swapped(cls, mixin)


def restore_class(module: nn.Module, mixin: type) -> None:
    """Undo :func:`swap_class` with the same ``mixin``; a module that was never swapped is left alone.

    A class that was laid over ours since, such as that of ``fully_shard`` or of a parametrisation, stays.
    """
    restored = _without(type(module), mixin)
    if restored is not type(module):
        module.__class__ = restored


class _Swapped:
    _mixin: type
    _original: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so pickle and deepcopy are told how to make it again. One that was laid over
        # it has to see to itself.
        reduced: Any = super().__reduce_ex__(protocol)
        return (_new, (self._original, self._mixin), *reduced[2:]) if _is_ours(type(self)) else reduced


_classes: WeakValueDictionary[tuple[int, int], Any] = WeakValueDictionary()
"""The classes in use, by the ids of the two that each is made of: it goes with its last module, and so do those."""


def _swapped(original: Any, mixin: type) -> Any:
    # No lock: two threads that make a class at once make the same one.
    key = id(original), id(mixin)
    known = _classes.get(key)
    if known is not None:
        return known
    namespace = {
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "_mixin": mixin,
        "_original": original,
    }
    made = type(original.__name__, (_Swapped, mixin, original), namespace)
    return _classes.setdefault(key, made)


def _is_ours(cls: type) -> bool:
    return "_mixin" in vars(cls) and issubclass(cls, _Swapped)


def _without(cls: type, mixin: type) -> Any:
    """``cls``, or a class like it that does not have ``mixin`` laid over another."""
    if not issubclass(cls, _Swapped) or not issubclass(cls, mixin):
        return cls
    if _is_ours(cls) and cls._mixin is mixin:
        return cls._original
    if _is_ours(cls):
        return _swapped(_without(cls._original, mixin), cls._mixin)
    bases = tuple(_without(base, mixin) for base in cls.__bases__)
    if bases == cls.__bases__:
        return cls
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    metaclass: Any = type(cls)
    return metaclass(cls.__name__, bases, namespace)


def _new(original: Any, mixin: type) -> nn.Module:
    swapped = _swapped(original, mixin)
    module: nn.Module = swapped.__new__(swapped)
    return module
