"""What an experiment tells while it runs."""

from __future__ import annotations

import sys


class Watch:
    """Told how an experiment gets on. This one says nothing; override what you want to hear."""

    def begin(self, steps: int) -> None:
        """The experiment starts, and will take so many steps of training."""

    def stage(self, text: str) -> None:
        """Something new begins, described in a few words."""

    def advance(self) -> None:
        """One more step is done."""

    def reach(self, steps: int) -> None:
        """So many steps are done in all, or will not be done."""

    def tell(self, line: str) -> None:
        """Something is over, such as an epoch: a line for a log, with its figures."""


def or_default(watch: Watch | None) -> Watch:
    """The watch that was given, or a progress bar in a notebook, or one that says nothing."""
    if watch is not None:
        return watch
    if in_notebook():
        from altprop.experiment.training.progress import NotebookBar  # noqa: PLC0415

        return NotebookBar()
    return Watch()


def in_notebook() -> bool:
    """Whether this runs in a notebook, whose kernel shows what is displayed."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
