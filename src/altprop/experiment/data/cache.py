"""Arrays that take long to generate, kept in the user's cache folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from zipfile import BadZipFile

import numpy as np

Arrays = dict[str, np.ndarray]


def cached(name: str, make: Callable[[], Arrays]) -> Arrays:
    """Read arrays from the cache, or make them and put them there.

    The cache is ``$XDG_CACHE_HOME/altprop`` (``~/.cache/altprop``). A file that cannot be read is made anew; a folder
    that cannot be written to is done without.

    Args:
        name: what the arrays are called, with a version: a changed ``make`` needs a changed name.
        make: makes the arrays.
    """
    file = _folder() / f"{name}.npz"
    # numpy leaves a file open that it cannot read, unless it was given it open.
    with suppress(OSError, ValueError, EOFError, BadZipFile), file.open("rb") as source, np.load(source) as arrays:
        return dict(arrays)
    made = make()
    with suppress(OSError):
        _write(file, made)
    return made


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "altprop"


def _write(file: Path, arrays: Arrays) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.stem}-", delete=False) as part:
        try:
            np.savez_compressed(part, allow_pickle=False, **arrays)
            part.close()
            Path(part.name).replace(file)
        except BaseException:
            Path(part.name).unlink()
            raise
