"""How an experiment shows where it is, if nobody says."""

from __future__ import annotations

import sys

from altprop.experiment.training.watching import Watch


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
