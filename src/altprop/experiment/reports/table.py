"""The tables of a report in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from altprop.experiment.reports.records import Report
from altprop.experiment.reports.tables import Group, groups_of, header, rows, shared


def terminal_tables(report: Report) -> list[Table]:
    """A table for each data set, without what a terminal has no room for, and one for each sweep."""
    groups = groups_of(report.found.entries)
    return [
        *(_group_table(group) for group in groups),
        *(_table(f"sweep {sweep.name}", sweep.header, sweep.rows, sweep.summary) for sweep in report.found.sweeps),
    ]


def _group_table(group: Group) -> Table:
    heads = header(group)
    shown = [
        heads.index(name)
        for name in ("run", "rule", "lr", f"test {group.metric}", "seeds", "left out")
        if name in heads
    ]
    lines = ([cells[place] for place in shown] for cells in rows(group))
    return _table(group.title, [heads[place] for place in shown], lines, shared(group))


def _table(title: str, heads: Iterable[str], lines: Iterable[Iterable[str]], caption: str) -> Table:
    table = Table(title=title, caption=caption or None)
    for number, name in enumerate(heads):
        table.add_column(name, justify="right" if number > 1 else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table
