"""A progress bar in the terminal, with the time that is left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from altprop.experiment.training.watching import Watch


class Bar(Watch):
    """Shows how an experiment gets on; a context manager, after which the bar is gone.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("loading the data", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, steps: int) -> None:
        """See :class:`Watch`."""
        self._progress.update(self._task, total=steps)

    def stage(self, text: str) -> None:
        """See :class:`Watch`."""
        self._progress.update(self._task, description=text)

    def advance(self) -> None:
        """See :class:`Watch`."""
        self._progress.advance(self._task)

    def reach(self, steps: int) -> None:
        """See :class:`Watch`."""
        self._progress.update(self._task, completed=steps)
