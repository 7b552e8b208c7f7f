"""Which folders are altprop's, what in them is, and which may be replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from altprop.experiment.errors import InputError
from altprop.experiment.records.files import MARKER, DamagedError, marker_of

_CELL = r"(seed-\d+|cells/[^/]+)"
_OWN = re.compile(
    rf"""(.*/)?\.[^/]+-[0-9a-f]{{8}}(/.*)?   # half-written by a process that was killed
    | {_CELL}(/(best|last|epoch-\d+)(-previous)?(/(model\.safetensors|state\.(safetensors|json)|manifest\.json))?)?
    | {_CELL}/(history\.jsonl | (wandb|mlflow)-id\.txt | mlflow\.db(-\w+)? | csv(/metrics\.csv)?)
    | {_CELL}/tensorboard(/events\.out\.tfevents\.[^/]+)?
    | cells | ({_CELL}/)?wandb(/.*)?""",
    re.VERBOSE,
)
"""What a run writes besides the files that its marker lists, and the folders that may be empty."""

_LINKS = re.compile(rf"({_CELL}/)?wandb/")


def foreign(folder: Path) -> Iterator[str]:
    """What is in a folder of altprop's that altprop did not write.

    Raises:
        DamagedError: the folder is not altprop's.
    """
    known = {MARKER, *marker_of(folder)["files"]}
    for place, inner, names in os.walk(folder):
        links = [name for name in inner if (Path(place) / name).is_symlink()]
        empty = [""] if not inner and not names and Path(place) != folder else []
        for path in (Path(place) / name for name in [*names, *links, *empty]):
            name = path.relative_to(folder).as_posix()
            link = path.is_symlink() and not _LINKS.match(name)
            if link or not ((path.is_file() and name in known) or _OWN.fullmatch(name)):
                yield name


def check_kind(folder: Path, kind: str, aim: str) -> None:
    """Check that a folder is altprop's, and holds what it should."""
    if folder.is_symlink():
        raise InputError(f"{folder} is a link, so it is not {aim}. Choose another name (--name).")
    if not folder.is_dir() or not os.path.lexists(folder / MARKER):
        raise InputError(
            f"{folder} holds no {kind} by this version of altprop (there is no {MARKER}), so it is not {aim}. Choose "
            f"another name (--name)."
        )
    try:
        found = marker_of(folder)["kind"]
    except DamagedError as error:
        raise InputError(f"{error} As it is, {folder} is not {aim}: choose another name (--name).") from error
    if found != kind:
        raise InputError(f"{folder} holds a {found} and no {kind}, so it is not {aim}. Choose another name (--name).")


def check_replaceable(folder: Path, kind: str) -> None:
    """Check that nothing is lost with a folder but an earlier run."""
    homes = [Path.cwd(), Path(os.path.expanduser("~")).resolve()]  # noqa: PTH111  (Path.home fails without a home)
    if any(folder.resolve() in (one, *one.parents) for one in homes):
        raise InputError(f"{folder} is or holds the working directory or your home, so it is not replaced.")
    if holds_something(folder):
        check_kind(folder, kind, "replaced")
        if (stranger := next(foreign(folder), None)) is not None:
            raise InputError(
                f"{folder} holds {stranger!r}, which altprop did not write, so it is not replaced. Move that away, or "
                f"choose another name (--name)."
            )
    elif folder.is_symlink() or not folder.is_dir():
        raise InputError(f"{folder} is no folder of altprop's, so it is not replaced. Choose another name (--name).")
    facts = folder.stat()
    theirs = hasattr(os, "geteuid") and facts.st_uid != os.geteuid()
    if theirs or not facts.st_mode & 0o222:
        what = "belongs to another user" if theirs else "is read-only"
        raise InputError(f"{folder} {what}, so it is not replaced. Choose another name (--name).")


def holds_something(path: Path) -> bool:
    """Whether something is there that is more than an empty folder, but for a file."""
    return path.is_symlink() or (path.is_dir() and any(path.iterdir()))
