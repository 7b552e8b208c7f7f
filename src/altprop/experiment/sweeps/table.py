"""The table of a sweep: what stands in it, and how it looks in a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from altprop.experiment.sweeps.results import SweepResults, SweepTrial

SHOWN = 20
"""Trials in a table for people: all are in trials.csv."""

_ORDER = ("complete", "pruned", "failed", "given up", "running", "waiting")


def ranked(results: SweepResults) -> list[SweepTrial]:
    """The trials that have ended: the complete ones, best first, then the others."""
    ended = [trial for trial in results.trials if trial.has_ended]
    return sorted(ended, key=lambda one: (_ORDER.index(one.state), one.value is None, one.value or 0.0, one.trial))


def header(results: SweepResults) -> list[str]:
    """The heads of the columns of :func:`row`."""
    return ["trial", results.plan.section.tune_on, *results.plan.space.parts]


def row(results: SweepResults, trial: SweepTrial) -> list[str]:
    """One trial, as it is shown to people."""
    value = "–" if trial.value is None else f"{trial.value:.4g}"
    note = "" if trial.state == "complete" else f" ({trial.state})"
    return [str(trial.trial), value + note, *(_word(trial.values.get(key)) for key in results.plan.space.parts)]


def terminal_table(results: SweepResults) -> Table:
    """The table for a terminal."""
    counts = [(sum(one.state == state for one in results.trials), state) for state in _ORDER]
    caption = ", ".join(f"{count} {state}" for count, state in counts if count)
    table = Table(
        *header(results), title=f"{results.name} · {results.plan.search}", caption=f"{caption}; lower is better"
    )
    for trial in ranked(results)[:SHOWN]:
        table.add_row(*row(results, trial))
    return table


def notes(results: SweepResults) -> list[str]:
    """What is worth knowing of a sweep, a line each."""
    attempts = [attempt for trial in results.trials for attempt in trial.attempts]
    died = sum(attempt.reason == "its worker died" for attempt in attempts)
    lost = [trial for trial in results.trials if trial.state in ("failed", "given up")]
    left = f"{results.left} of {results.plan.trials} trials have not ended. Workers: altprop worker {_target(results)}"
    return [
        *([left] if results.left else []),
        *([f"{died} trials were taken over from workers that died."] if died else []),
        *(f"Trial {one.trial} {one.state}: {one.message or 'too many workers died of it'}" for one in lost),
    ]


def _target(results: SweepResults) -> str:
    """What ``altprop worker`` is given."""
    if results.storage.startswith("sqlite") and results.folder is not None:
        return str(results.folder)
    return f"{results.storage}/{results.name}"


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
