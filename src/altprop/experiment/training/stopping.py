"""When a training ends before its time: by its figures, or because someone asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from altprop.experiment.records.training import EpochFigures

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Within this block Ctrl-C and SIGTERM, which Slurm sends before it takes a machine away, only ask for the end.

    A second one ends the program as ever. On other threads than the main one signals are left alone.

    Attributes:
        asked: whether one came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


def best_epoch(
    history: Sequence[EpochFigures], monitor: str, *, lower: bool, min_delta: float = 0.0
) -> EpochFigures | None:
    """The figures of the best epoch, of equal ones the first; None without any.

    Args:
        history: of the training.
        monitor: the name of the figure that decides.
        lower: whether it is better the lower it is.
        min_delta: what counts as better.

    Example:
        >>> losses = enumerate([2, 1, 3])
        >>> history = [EpochFigures(epoch=n, step=n, lr=1, train_loss=loss, train_score=0) for n, loss in losses]
        >>> best_epoch(history, "train_loss", lower=True).epoch
        1
    """
    sign = -1.0 if lower else 1.0
    best: EpochFigures | None = None
    for figures in history:
        if best is None or sign * (getattr(figures, monitor) - getattr(best, monitor)) > min_delta:
            best = figures
    return best
