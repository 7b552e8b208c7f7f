"""What captum expects of a method that replaces one of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def with_wrapped(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """The method with itself as ``__wrapped__``, which captum's NoiseTunnel calls to bypass captum's logging."""

    @wraps(method)
    def unchanged(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return method(*args, **kwargs)

    return unchanged
