"""What an experiment tells while it runs."""

from __future__ import annotations


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
