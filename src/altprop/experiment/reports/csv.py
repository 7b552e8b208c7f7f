"""Tables for programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def column(metric: str) -> str:
    """The name of a score in a table for programs.

    Example:
        >>> column("R²"), column("squared error")
        ('r2', 'squared_error')
    """
    return metric.replace("²", "2").replace(" ", "_").lower()


def write_csv(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table for programs. What a row does not have stays empty.

    Args:
        file: where to.
        rows: by column.
    """
    rows = list(rows)
    # Rules may know layers of their own, so the rows need not have the same columns.
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(rows)
