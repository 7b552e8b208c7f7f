"""One writer at a time: locks of folders of runs, and what dead writers left."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from socket import gethostname

from filelock import FileLock, Timeout

from altprop.experiment.errors import InputError
from altprop.experiment.records.files import MARKER, DamagedError, marker_of

_HIDDEN = re.compile(r"\.(.+)-[0-9a-f]{8}")
_LOCK = re.compile(r"\.(.+)\.lock")
_WORD = "altprop process "


def lock_name(out: Path, name: str, *, wait: float = 0) -> FileLock:
    """Take a name in a folder for this process, until :func:`release`; the system releases it when the process dies.

    Raises:
        InputError: another process has it, still after ``wait`` seconds; the message says which.
    """
    file = _file(out, name)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise InputError(
            f"{out / name} is being written by {_holder(file)}. Wait for it, or choose another name (--name)."
        ) from None
    with suppress(OSError):  # it only serves to tell the others
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        file.write_text(f"{_WORD}{os.getpid()} on {gethostname()} since {now}: {shlex.join(sys.argv)}", "utf-8")
    return lock


def lock_free_name(out: Path, name: str) -> tuple[FileLock, str]:
    """Take the name, or the first with a number behind it, that nothing has and nobody writes to."""
    for number in count(1):
        one = name if number == 1 else f"{name}-{number}"
        with suppress(InputError):
            lock = lock_name(out, one)
            if not (os.path.lexists(out / one) or os.path.lexists(out / f".{one}.new")):
                return lock, one
            release(lock)
    raise AssertionError("numbers do not end")


def release(lock: FileLock) -> None:
    """Give a name back."""
    with suppress(OSError):
        Path(lock.lock_file).unlink()  # while it is ours
    lock.release()


def clear(out: Path, name: str) -> None:
    """Remove hidden folders that dead processes of ours were writing to, and their locks; ``name`` is ours."""
    for path in out.glob(".*"):
        folder, lock = _HIDDEN.fullmatch(path.name), _LOCK.fullmatch(path.name)
        if folder and _is_unfinished(path, folder[1]):
            _if_dead(out, folder[1], name, path)
        elif lock and lock[1] != name and path.is_file() and _text(path).startswith(_WORD):
            _if_dead(out, lock[1], name)


def _if_dead(out: Path, owner: str, name: str, folder: Path | None = None) -> None:
    with suppress(InputError, OSError):  # it lives, or is not ours to remove
        lock = None if owner == name else lock_name(out, owner)
        try:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            if lock is not None:
                release(lock)


def _is_unfinished(path: Path, name: str) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        return bool(marker_of(path).get("name") == name)
    except DamagedError:  # killed before it was marked
        return all(file.name.startswith(f".{MARKER}-") for file in path.iterdir())


def _holder(file: Path) -> str:
    said = _text(file).removeprefix("altprop ")
    return said.replace("\n", " ") if said.startswith("process ") else "another process"


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace")[:300]
    except OSError:
        return ""


def _file(out: Path, name: str) -> Path:
    return out / f".{name}.lock"
