"""Files that are there whole or not at all, and brought to the disk."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_through(file: Path, data: bytes) -> None:
    """Write a file, and wait until the disk has it."""
    with file.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def write_whole(file: Path, text: str) -> None:
    """Write a file that is there whole or not at all, in the place of the one that is there."""
    new = file.with_name(f".{file.name}-{uuid4().hex[:8]}")
    write_through(new, text.encode())
    new.replace(file)
    flush_folder(file.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the disk has what a folder lists: files that were made, renamed or removed."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
