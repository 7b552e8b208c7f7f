"""When work ends before its time: by its figures, or because someone asks for it.

There is one story for every command. Ctrl-C, SIGTERM (of Slurm and ``kill``) and SIGHUP (the terminal is gone) raise
KeyboardInterrupt within :func:`interruptible`; within :class:`Stop` they only ask a training to end at its next step.
Either way what is done is kept, and :func:`exit_status` is what a shell expects.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from altprop.experiment.records.study import Epoch

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_came = [signal.SIGINT]
"""The last signal that asked this process to end: signals are the process's, and so is this."""


def exit_status() -> int:
    """The status of a command that was asked to end: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."""
    return 128 + _came[0]


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this block SIGTERM and SIGHUP do what Ctrl-C does. On other threads than the main one nothing changes."""
    _came[0] = signal.SIGINT
    before = _handle(_interrupt)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back within this block what :func:`interruptible` would raise, until the block has ended."""
    came: list[int] = []
    before = _handle(lambda number, frame: came.append(number))
    try:
        yield
    finally:
        _restore(before)
    if came:
        _interrupt(came[0], None)


class Stop:
    """Within this block Ctrl-C, SIGTERM and SIGHUP only ask for the end; a second one does what it did before.

    On other threads than the main one signals are left alone.

    Attributes:
        asked: whether one came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = _handle(self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        _came[0] = signal.Signals(number)
        self.asked = True
        _restore(self._before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came[0] = signal.Signals(number)
    raise KeyboardInterrupt


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Take the signals, but for those that are to be ignored, as SIGHUP is under nohup; what handled them before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    taken = [number for number in _SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in taken}


def _restore(before: dict[int, Any]) -> None:
    while before:
        signal.signal(*before.popitem())


def best_epoch(history: Sequence[Epoch], monitor: str, *, lower: bool, min_delta: float = 0.0) -> Epoch | None:
    """The figures of the best epoch, of equal ones the first; None without any.

    Args:
        history: of the training.
        monitor: the name of the figure that decides.
        lower: whether it is better the lower it is.
        min_delta: what counts as better.

    Example:
        >>> from altprop.experiment.records.study import Epoch
        >>> losses = enumerate([2, 1, 3])
        >>> history = [Epoch(epoch=n, step=n, lr=1, train_loss=loss, train_score=0) for n, loss in losses]
        >>> best_epoch(history, "train_loss", lower=True).epoch
        1
    """
    sign = -1.0 if lower else 1.0
    best: Epoch | None = None
    for figures in history:
        if best is None or sign * (getattr(figures, monitor) - getattr(best, monitor)) > min_delta:
            best = figures
    return best
