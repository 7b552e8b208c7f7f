"""Text files of columns that say which image is what."""

from __future__ import annotations

from pathlib import Path

from altprop.experiment.errors import InputError


def read_table(file: Path, columns: int) -> list[list[str]]:
    """The rows of a text file, cut at white space; empty lines are left out.

    Args:
        file: in UTF-8.
        columns: how many there must be at least.

    Raises:
        InputError: it is not there or no text, or a line has fewer columns; the message names it.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text: put the published file there.") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, row in rows:
        if len(row) < columns:
            raise InputError(f"{file}, line {number}: {columns} columns are needed, got {' '.join(row)!r}; mend it.")
    if not rows:
        raise InputError(f"{file} is empty: put the published file there.")
    return [row for _, row in rows]
