"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def attach(
    package: str, names: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package that imports lazily.

    Args:
        package: its ``__name__``.
        names: for each of its modules, the names that the package takes from it.
        modules: modules that are public themselves.

    Example:
        >>> __getattr__, __dir__, __all__ = attach("json", {"decoder": ["JSONDecoder"]}, ["encoder"])
        >>> __all__, __getattr__("JSONDecoder").__name__
        (['JSONDecoder', 'encoder'], 'JSONDecoder')
    """
    module_of = {name: module for module, taken in names.items() for name in taken}
    public = sorted({*module_of, *modules})

    def get(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public})

    return get, listed, public
