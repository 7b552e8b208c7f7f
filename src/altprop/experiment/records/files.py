"""Files that are there whole or not at all, brought to the disk, and checked against their sums when they are read.

A folder that altprop wrote holds :data:`MARKER`: what kind of run it is, and the SHA-256 of each file that is read
again. The marker and the manifests of checkpoints hold a sum of themselves. :func:`read_checked` is the one way to
read such a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from altprop.experiment.errors import InputError

MARKER = "altprop.json"
"""The file by which a folder is known to be altprop's."""

FORMAT = 1

_SUM = "sum"
_REMEDY = " Remove it and go on with the run (--resume), or repeat the run."


class DamagedError(InputError):
    """A file is not what was written. The message says which, how, and what to do."""


def write_through(file: Path, data: bytes) -> None:
    """Write a file, and wait until the disk has it."""
    with file.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file that is there whole or not at all, in the place of the one that is there."""
    new = file.with_name(f".{file.name}-{uuid4().hex[:8]}")
    try:
        write_through(new, content.encode() if isinstance(content, str) else content)
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)  # on a full disk, it takes what little room there is
        raise
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


def sum_of(data: bytes) -> dict[str, Any]:
    """What :func:`check_sum` compares.

    Example:
        >>> sum_of(b"")["bytes"], sum_of(b"")["sha256"][:8]
        (0, 'e3b0c442')
    """
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def sum_through(file: Path) -> dict[str, Any]:
    """The sum of a file that was written by other means; the disk has it then."""
    with file.open("rb+") as there:
        os.fsync(there.fileno())
        return sum_of(there.read())


def check_sum(file: Path, data: bytes, *known: dict[str, Any], remedy: str = "") -> bytes:
    """Check that what was read is what was written.

    Args:
        file: where it was read.
        data: what was read.
        *known: sums by :func:`sum_of`, one of which must be that of the data.
        remedy: what to do, if they are not.

    Returns:
        The data.

    Raises:
        DamagedError: they are another file's.
    """
    found = sum_of(data)
    if found in known:
        return data
    sizes = {entry["bytes"] for entry in known}
    how = "its checksum is another" if len(data) in sizes else f"it has {len(data)} bytes instead of {min(sizes)}"
    raise DamagedError(f"{file} is damaged: {how}.{remedy}")


def seal(facts: dict[str, Any]) -> bytes:
    """JSON with a sum of itself, for :func:`unseal`."""
    return json.dumps(facts | {_SUM: _own_sum(facts)}, indent=2).encode()


def unseal(file: Path) -> dict[str, Any]:
    """Read what :func:`seal` made.

    Raises:
        DamagedError: it is missing, or it is not what was written.
    """
    try:
        facts: Any = json.loads(file.read_bytes())
        if isinstance(facts, dict) and facts.pop(_SUM, None) == _own_sum(facts):
            return facts
    except FileNotFoundError:
        raise DamagedError(f"{file} is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{file} cannot be read, or is damaged.{_REMEDY}") from error
    raise DamagedError(f"{file} is damaged.{_REMEDY}")


def sealed_line(facts: dict[str, Any]) -> str:
    """A line of a file of JSON lines, with a sum of itself."""
    return json.dumps(facts | {_SUM: _own_sum(facts)}) + "\n"


def unsealed_lines(file: Path) -> list[dict[str, Any]]:
    """What :func:`sealed_line` made, but for what follows the last line break: it is being written.

    Raises:
        DamagedError: a line is not what was written.
    """
    found: list[dict[str, Any]] = []
    *lines, rest = file.read_bytes().split(b"\n")
    for line in lines:
        facts = _unsealed_line(line)
        if facts is None:
            raise DamagedError(f"{file} is damaged in line {len(found) + 1}.{_REMEDY}")
        found.append(facts)
    if _unsealed_line(rest[:-1]) is not None:  # a whole line, and something else in the place of its break
        raise DamagedError(f"{file} is damaged in line {len(found) + 1}.{_REMEDY}")
    return found


def _unsealed_line(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it is not what was written."""
    try:
        facts: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or facts.pop(_SUM, None) != _own_sum(facts):
        return None
    return facts


def _own_sum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def marker_of(folder: Path) -> dict[str, Any]:
    """What altprop wrote about a folder of its own.

    Raises:
        DamagedError: nothing, or it is damaged.
    """
    if (folder / MARKER).is_symlink():
        raise DamagedError(f"{folder / MARKER} is a link, and not what altprop wrote.")
    facts = unseal(folder / MARKER)
    if facts.get("format") != FORMAT:
        raise DamagedError(f"{folder} was written by another version of altprop: repeat the run.")
    return facts


def run_folder(path: Path) -> Path | None:
    """The folder of a run that a path leads to or into; None if it leads to none."""
    return next((one for one in (path, *path.parents) if (one / MARKER).is_file()), None)


def read_checked(file: Path) -> bytes:
    """Read a file of a run.

    Raises:
        DamagedError: it is missing, is not what was written, or nobody knows what was written.
    """
    folder = run_folder(file.parent)
    if folder is None:
        raise DamagedError(f"{file.parent} has no {MARKER}: this version of altprop did not write it. Repeat the run.")
    known = marker_of(folder)["files"].get(file.relative_to(folder).as_posix())
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DamagedError(f"{file} cannot be read: {error.strerror}.{_REMEDY}") from error
    if not known:
        raise DamagedError(f"{file} is not among what altprop wrote there ({folder / MARKER}).{_REMEDY}")
    return check_sum(file, data, *known, remedy=_REMEDY)


def read_checked_text(file: Path) -> str:
    """As :func:`read_checked`, of text."""
    return read_checked(file).decode("utf-8")


def mark(folder: Path, kind: str, files: dict[str, list[dict[str, Any]]], **facts: Any) -> None:
    """Write what altprop says about a folder of its own.

    Args:
        folder: which.
        kind: what it holds, such as ``"training"``.
        files: by name, as POSIX has it, the sums that are right: several while a file is being replaced.
        **facts: what else there is to say.
    """
    write_whole(folder / MARKER, seal({"kind": kind, "format": FORMAT, **facts, "files": files}))


def mark_all(folder: Path, kind: str, **facts: Any) -> None:
    """Sum all files of a folder that is whole."""
    plain = (path for path in files_of(folder) if path.is_file() and not path.is_symlink())
    files = {path.relative_to(folder).as_posix(): [sum_through(path)] for path in plain}
    mark(folder, kind, {name: sums for name, sums in files.items() if name != MARKER}, **facts)


def files_of(folder: Path) -> Iterator[Path]:
    """All files below a folder, and all that is no folder; links are not followed."""
    for place, inner, names in os.walk(folder):
        links = [name for name in inner if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted([*names, *links]))
