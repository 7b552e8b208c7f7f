"""The files of a report: a page for people, tables for programs and for papers, pictures."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.reports.csv import write_csv
from altprop.experiment.reports.drawing import pictures_of
from altprop.experiment.reports.page import render
from altprop.experiment.reports.records import Report
from altprop.experiment.reports.tables import (
    Group,
    as_markdown,
    entry_rows,
    groups_of,
    header,
    network_rows,
    rows,
    shared,
)

_KINDS = {
    "compare": "altprop compare",
    "train": "altprop train",
    "jax": "altprop flax train",
}


def write_report(report: Report, folder: Path, *, command: str) -> Report:
    """Write what was found.

    * ``report.html``, a page that needs no other file, and its pictures as PNG files beside it;
    * ``table.csv``: a line for each rule of each run; ``runs.csv``: a line for each network;
    * ``table.md``: the tables as Markdown;
    * ``report.json``: all of it, to be read again by :meth:`Report.load`. It comes last.

    Args:
        report: what to write.
        folder: where to write; it exists.
        command: what repeats it.

    Returns:
        The report, with notes about what could not be drawn.
    """
    groups, sources, notes = groups_of(report.found.entries), report.found.sources, list(report.notes)
    pictures = [picture for group in groups for picture in pictures_of(group, sources, notes)]
    report = report.model_copy(update={"notes": tuple(notes)})
    if groups:
        write_csv(folder / "table.csv", entry_rows(groups))
        write_csv(folder / "runs.csv", network_rows(groups))
        (folder / "table.md").write_text(as_markdown(groups), encoding="utf-8")
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.light)
    page = render(
        "merged.html",
        results=report,
        title=_title(report),
        subtitle="Runs side by side",
        messages=notes,
        pictures=pictures,
        facts=_facts(report, groups),
        command=command,
        tables=[(group, header(group), rows(group), shared(group)) for group in groups],
        sweeps=report.found.sweeps,
        sources=[(source, _KINDS[source.kind], _link(source.folder, folder)) for source in sources],
        stresses=[(stress.summary, _link(stress.folder, folder)) for stress in report.found.stresses],
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / RECORDS["report"]).write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report


def _title(report: Report) -> str:
    found = report.found
    counts = ((len(found.sources), "run"), (len(found.sweeps), "sweep"), (len(found.stresses), "examination"))
    return " and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)


def _facts(report: Report, groups: list[Group]) -> dict[str, str]:
    entries = report.found.entries
    return {
        "folders": ", ".join(report.folders),
        "data": ", ".join(group.title for group in groups) or "–",
        "rules": ", ".join(dict.fromkeys(entry.rule for entry in entries)) or "–",
        "networks": str(sum(len(entry.networks) for entry in entries)),
    }


def _link(run: Path, folder: Path) -> str:
    """The way from the report, which will stand beside its folder in the making, to a run's own page."""
    page = run / "report.html"
    return quote(Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix()) if page.is_file() else ""
