"""How an experiment gets on: a bar in a terminal, lines where there is none, a bar in a notebook."""

from __future__ import annotations

import time
from html import escape
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from altprop.experiment.training.watching import Watch


def watch_on(console: Console) -> Bar | Lines:
    """A bar where the console is a terminal, and lines where it is a file or a pipe; a context manager."""
    return Bar(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Bar(Watch):
    """A bar with the time that is left; a context manager, after which it is gone.

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


class Lines(Watch):
    """A line for each stage and each epoch, without colours: for log files, and for whoever waits.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._last = console, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It leaves nothing behind."""

    def stage(self, text: str) -> None:
        """See :class:`Watch`."""
        self.tell(text)

    def tell(self, line: str) -> None:
        """See :class:`Watch`. What is said again and again, as of waiting, is written once."""
        if line != self._last:
            self._console.print(line, style=None, markup=False, highlight=False, soft_wrap=True)
            self._last = line


class NotebookBar(Watch):
    """A bar below the cell of a notebook, with the last line that was told; it takes no extension of the notebook."""

    _PAUSE = 0.2  # seconds between two drawings, which go to the browser

    def __init__(self) -> None:
        self._total, self._done, self._text, self._line = 0, 0, "", ""
        self._handle: Any = None
        self._drawn = 0.0

    def begin(self, steps: int) -> None:
        """See :class:`Watch`."""
        self._total = steps
        self._draw()

    def stage(self, text: str) -> None:
        """See :class:`Watch`."""
        self._text = text
        self._draw()

    def tell(self, line: str) -> None:
        """See :class:`Watch`."""
        self._line = line
        self._draw()

    def advance(self) -> None:
        """See :class:`Watch`."""
        self._done += 1
        if time.monotonic() - self._drawn >= self._PAUSE:
            self._draw()

    def reach(self, steps: int) -> None:
        """See :class:`Watch`."""
        self._done = steps
        self._draw()

    def _draw(self) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        share = f"{self._done / self._total:.0%}" if self._total else ""
        bar = f'<progress value="{self._done}" max="{self._total or 1}"></progress>'
        drawn = HTML(f"<div>{bar} {share} {escape(self._text)}<br><small>{escape(self._line)}</small></div>")
        if self._handle is None:
            self._handle = display(drawn, display_id=True)
        else:
            self._handle.update(drawn)
        self._drawn = time.monotonic()
