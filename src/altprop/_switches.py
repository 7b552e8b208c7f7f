"""Torch's global switches (gradients, autocast, inference mode), set for one call and always restored.

Not as a ``with`` block: an interrupt between its last line and its end, or within ``__enter__`` or ``__exit__``, would
leave the switch as it is in the block, for all that the thread does from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


def without_gradients(work: Callable[P, T]) -> Callable[P, T]:
    """``work``, as under ``torch.no_grad()``."""
    return _set_for(work, torch.is_grad_enabled, torch._C._set_grad_enabled, False)


def with_gradients(work: Callable[P, T]) -> Callable[P, T]:
    """``work``, as under ``torch.enable_grad()``."""
    return _set_for(work, torch.is_grad_enabled, torch._C._set_grad_enabled, True)


def without_autocast(device_type: str, work: Callable[P, T]) -> Callable[P, T]:
    """``work``, as under ``torch.autocast(device_type, enabled=False)``."""
    read: Callable[[], bool] = partial(torch.is_autocast_enabled, device_type)
    return _set_for(work, read, partial(torch.set_autocast_enabled, device_type), False)


def out_of_inference(work: Callable[P, T]) -> Callable[P, T]:
    """``work``, as under ``torch.inference_mode(False)``."""

    @wraps(work, updated=())
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        guards: list[Any] = []
        try:
            guards.append(torch._C._InferenceMode(False))
            result = work(*args, **kwargs)
            _end(guards)
            return result
        except BaseException:
            _end(guards)
            raise

    return run


def recording(until: ExitStack, device_type: str) -> None:
    """Gradients on, inference and autocast off until the stack is closed; also if its closing is cut off once."""
    guards: list[Any] = []
    for _ in range(2):
        until.callback(torch._C._set_grad_enabled, torch.is_grad_enabled())
        until.callback(torch.set_autocast_enabled, device_type, torch.is_autocast_enabled(device_type))
        until.callback(_end, guards)
    guards.append(torch._C._InferenceMode(False))
    torch._C._set_grad_enabled(True)
    torch.set_autocast_enabled(device_type, False)


def _end(guards: list[Any]) -> None:
    for guard in guards:
        guard.__exit__(None, None, None)  # a second time it does nothing


def seeded(seed: int, work: Callable[P, T]) -> Callable[P, T]:
    """``work``, which draws from torch's global generator on the CPU as if that had been seeded for it alone."""
    state = torch.Generator().manual_seed(seed).get_state()
    return _set_for(work, torch.default_generator.get_state, torch.default_generator.set_state, state)


def _set_for(work: Callable[P, T], read: Callable[[], S], write: Callable[[S], object], value: S) -> Callable[P, T]:
    @wraps(work, updated=())
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        before = read()
        try:
            write(value)
            result = work(*args, **kwargs)
            write(before)
            return result
        except BaseException:
            write(before)
            raise

    return run
