"""What folders of altprop's hold, and the file that says it: a reader asks the marker, and never guesses."""

from __future__ import annotations

from pathlib import Path

from altprop.experiment.errors import InputError
from altprop.experiment.records.files import MARKER, marker_of, read_checked_text, run_folder

RECORDS = {
    "study": "study.json",
    "sweep": "sweep.json",
    "pruning": "stress.json",
    "robustness": "stress.json",
    "explanation": "explanations.json",
    "report": "report.json",
    "demo": "report.html",  # its parts are folders of their own kinds
}
"""By the kind of a folder, the name of the file with all that came out."""

_OLD = ("results.json", "training.json", "sweep.json")


def kind_of(folder: Path) -> str | None:
    """What a folder holds, of :data:`RECORDS`; None if it is no folder of a run.

    Raises:
        InputError: its marker is damaged, or it is of another version of altprop.
    """
    if (folder / MARKER).is_file():
        kind = str(marker_of(folder)["kind"])
        if kind not in RECORDS:
            raise InputError(f"{folder} holds a {kind}, which this version of altprop does not read. Repeat the run.")
        return kind
    # Within the folder of a run files may have any name.
    if run_folder(folder) is None and any((folder / name).is_file() for name in _OLD):
        raise InputError(f"{folder} is of altprop 0.1.0, whose folders this version does not read. Repeat the run.")
    return None


def is_written(folder: Path, kind: str) -> bool:
    """Whether the record of a folder has been written: that of a run which has only begun has not."""
    return RECORDS[kind] in marker_of(folder)["files"]


def read_record(folder: Path, *kinds: str) -> str:
    """Read the record of a folder, as JSON.

    Args:
        folder: of a run.
        *kinds: what it may hold.

    Raises:
        InputError: it holds something else, or the record is damaged.
    """
    kind = kind_of(folder) if folder.is_dir() else None
    if kind not in kinds:
        what = "There is no folder" if not folder.is_dir() else f"No {' or '.join(kinds)} by altprop is in"
        raise InputError(f"{what} {folder}{'' if kind is None else f', but a {kind}'}.")
    return read_checked_text(folder / RECORDS[kind])
