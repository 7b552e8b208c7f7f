"""What a training leaves in its folder on the way: checkpoints, the history, and what loggers write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from altprop.experiment.records.files import sealed_line, write_whole
from altprop.experiment.records.study import Epoch
from altprop.experiment.training.checkpoints import (
    BEST,
    LAST,
    PREVIOUS,
    Snapshot,
    find_checkpoint,
    remove_checkpoints,
    remove_unfinished,
    write_checkpoint,
)
from altprop.experiment.training.job import Job
from altprop.experiment.training.loggers import Log, make_logs
from altprop.experiment.training.loop import Loop
from altprop.experiment.training.snapshots import check_snapshot
from altprop.experiment.training.stopping import best_epoch

_SHARE = 0.005
"""Of the time, what the writing of ``last`` after each epoch may take: where epochs are short, it skips some."""


_FIRST_COST = 0.05
"""Seconds that a write is taken to cost until one was measured: a training of seconds writes at its end alone."""


class Keeper(Protocol):
    """Told how a training goes on."""

    def begin(self, loop: Loop) -> None:
        """The training starts, or goes on."""

    def started(self) -> None:
        """The network was measured before its first step."""

    def after_step(self) -> None:
        """A step is done."""

    def after_epoch(self, figures: Epoch) -> None:
        """An epoch is done."""

    def end(self, *, good: bool) -> None:
        """The training is over; ``good``: its state is sound, for it did not diverge."""


def find_saved(folder: Path, job: Job, framework: str) -> tuple[Snapshot | None, list[str]]:
    """The last good checkpoint of a job, and notes about those that are not.

    Raises:
        InputError: it is of another recipe or framework, or none is good.
    """
    snapshot, notes = find_checkpoint(folder)
    if snapshot is not None:
        check_snapshot(snapshot, job.recipe, job.seed, f"The checkpoint in {folder}", framework)
    return snapshot, notes


class NoKeeper:
    """Keeps nothing."""

    def begin(self, loop: Loop) -> None:
        """See :class:`Keeper`."""

    def started(self) -> None:
        """See :class:`Keeper`."""

    def after_step(self) -> None:
        """See :class:`Keeper`."""

    def after_epoch(self, figures: Epoch) -> None:
        """See :class:`Keeper`."""

    def end(self, *, good: bool) -> None:
        """See :class:`Keeper`."""


class FolderKeeper:
    """Keeps a training in a folder. Of several processes the first one writes.

    Args:
        folder: where; made if it is not there.
        job: what is trained.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder, self._job = folder, job
        self._best: Snapshot | None = None
        self._logs: list[Log] = []
        self._written, self._cost = time.perf_counter(), _FIRST_COST
        self._at: tuple[int, int] | None = None
        self._taken: tuple[tuple[int, int], Snapshot] | None = None

    def begin(self, loop: Loop) -> None:
        """See :class:`Keeper`."""
        self._loop = loop
        self._first = loop.machine.is_global_zero
        if self._first:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self._folder)
            if not loop.step:
                remove_checkpoints(self._folder)
            self._logs = make_logs(self._job.recipe, self._folder, loop.history)
        loop.machine.barrier()

    def started(self) -> None:
        """See :class:`Keeper`."""
        if self._first:
            epochs = [self._loop.start, *self._loop.history]
            lines = [sealed_line(figures.model_dump()) for figures in epochs if figures]
            write_whole(self._folder / "history.jsonl", "".join(lines))

    def after_step(self) -> None:
        """See :class:`Keeper`."""
        every = self._job.recipe.checkpoints.every_steps
        if every and self._loop.step % every == 0:
            self._write_last()

    def after_epoch(self, figures: Epoch) -> None:
        """See :class:`Keeper`."""
        if self._first:
            with (self._folder / "history.jsonl").open("a", encoding="utf-8") as out:
                out.write(sealed_line(figures.model_dump()))
        for log in self._logs:
            log.add(figures)
        best = best_epoch(self._loop.history, self._job.monitor, lower=self._job.lower_is_better)
        if best is figures:
            self._best = self._take()
        every = self._job.recipe.checkpoints.every
        if every and figures.epoch % every == 0:
            self._write(self._take(), f"epoch-{figures.epoch:05d}")
        # All processes must write together, and their clocks differ.
        due = time.perf_counter() - self._written > self._cost / _SHARE
        if due or self._loop.machine.world_size > 1:
            self._write_last()

    def end(self, *, good: bool) -> None:
        """See :class:`Keeper`."""
        if good:
            self._write_last()
        else:
            if self._at is None and self._best is not None:
                self._write(self._best, LAST)  # it diverged before the first write was due
            self._write_best()
        for log in self._logs:
            log.close()
        self._loop.machine.barrier()

    def _write_last(self) -> None:
        at = self._loop.step, self._loop.epoch
        if at == self._at:
            return
        start = time.perf_counter()
        self._write_best()
        self._write(self._take(), LAST, keep=PREVIOUS)
        self._at, self._written = at, time.perf_counter()
        self._cost = self._written - start

    def _take(self) -> Snapshot:
        """Where the training stands; taken down once for all that is written of it."""
        at = self._loop.step, self._loop.epoch
        if self._taken is None or self._taken[0] != at:
            self._taken = at, self._loop.snapshot()
        return self._taken[1]

    def _write_best(self) -> None:
        # Before the last, so that who goes on from there has the best until then.
        if self._best is not None:
            self._write(self._best, BEST)
        self._best = None

    def _write(self, snapshot: Snapshot, name: str, keep: str | None = None) -> None:
        if self._first:
            write_checkpoint(snapshot, self._folder / name, keep=self._folder / keep if keep else None)
