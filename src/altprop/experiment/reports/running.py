"""Reports that merge runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from altprop.experiment.errors import InputError
from altprop.experiment.records.folder import Folder
from altprop.experiment.records.machine import versions
from altprop.experiment.reports.finding import find
from altprop.experiment.reports.records import Found, Report


def report(
    folders: Iterable[Path | str] | Path | str,
    *,
    out: Path | str = Path("runs"),
    name: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Merge runs into one page, with their curves, tables, pictures and recipes.

    Args:
        folders: of runs, or of folders of runs, at any depth: of ``altprop compare``, ``train``, ``sweep``,
            ``prune``, ``robustness`` and ``flax train``.
        out: the folder of all results.
        name: of the report's folder, within ``out``. Unset: ``report``, with a number if that is taken.
        overwrite: whether to replace an earlier report of the name.

    Returns:
        The report; ``report.folder`` holds ``report.html``, its pictures, and the tables ``table.csv``, ``runs.csv``
        and ``table.md``.

    Raises:
        InputError: a folder holds no run, a run is damaged, or the name is taken; nothing was written.
    """
    from altprop.experiment.reports.output import write_report  # noqa: PLC0415  (matplotlib is slow to import)

    asked = [folders] if isinstance(folders, Path | str) else list(folders)
    if not asked:
        raise InputError("Give the folders of the runs, such as runs, which takes all that is below it.")
    name_of_it, numbered = name or "report", not name
    with Folder.open(Path(out), name_of_it, kind="report", numbered=numbered, overwrite=overwrite) as folder:
        found = find(map(Path, asked))
        made = Report(
            folders=tuple(map(str, asked)),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions("cpu"),
            found=found,
            notes=tuple(notes_of(found)),
        )
        made = write_report(made, folder.path, command=_command(asked, name))
        return made.model_copy(update={"folder": folder.publish()})


def notes_of(found: Found) -> list[str]:
    """What the reader should know: what runs noted, and what went wrong in them."""
    notes = [f"{source.name}: {note}" for source in found.sources for note in source.notes]
    wrong = [f"{entry.run}: {one.message}" for entry in found.entries for one in entry.networks if one.message]
    return [*notes, *wrong]


def _command(folders: list[Path | str], name: str | None) -> str:
    words = ["altprop", "report", *map(str, folders), *(["--name", name] if name else [])]
    return shlex.join(words)
