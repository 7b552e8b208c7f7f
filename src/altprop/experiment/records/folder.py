"""Folders and files that are there whole or not at all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from altprop.experiment.errors import InputError

RESULTS = "results.json"
"""The file by which a folder is known to hold results."""


WEIGHTS = "weights"
"""The folder, within one of results, of the weights that were kept."""


def weights_file(folder: Path, rule: str, seed: int) -> Path:
    """The file of the weights that a rule reached from a seed.

    Args:
        folder: of the results.
        rule: the label of the rule; no two have the same file.
        seed: of the run.

    Example:
        >>> weights_file(Path("runs/mine"), "lfp:epsilon=0", 2).name
        'lfp%3Aepsilon=0-seed-2.safetensors'
    """
    return folder / WEIGHTS / f"{quote(rule, safe='=,')}-seed-{seed}.safetensors"


def plain_name(text: str) -> str:
    """Turn any text into a name that a folder can have.

    Example:
        >>> plain_name("train-lfp:epsilon=0-digits")
        'train-lfp-epsilon-0-digits'
    """
    return re.sub(r"[^\w.+]+", "-", text).strip("-")


class Folder:
    """A folder in the making: written to :attr:`path`, moved to where it belongs by :meth:`publish`.

    Attributes:
        path: where to write.
    """

    def __init__(self, out: Path, name: str, *, numbered: bool, overwrite: bool) -> None:
        self._target, self._numbered, self._overwrite = out / name, numbered, overwrite
        self.path = out / f".{name}-{uuid4().hex[:8]}"

    def publish(self) -> Path:
        """Move the folder to its place, and say where that is."""
        # Another run may have taken the name in the meantime: rather a number than lost results.
        target = self._target if self._overwrite else free_folder(self._target)
        if not target.exists():
            return self.path.rename(target)
        old = self.path.with_name(f"{self.path.name}-old")
        target.rename(old)
        try:
            self.path.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old)
        return target

    def check(self) -> None:
        """Check that the folder may go where it belongs.

        Raises:
            InputError: something is there.
        """
        target = self._target
        if not target.exists() or (self._numbered and not self._overwrite):
            return
        if not self._overwrite:
            raise InputError(f"{target} exists. Choose another name (--name), or replace it (--overwrite).")
        if not target.is_dir() or (any(target.iterdir()) and not (target / RESULTS).exists()):
            raise InputError(
                f"{target} does not hold results of an experiment, so it is not replaced. Choose another name."
            )


@contextmanager
def new_folder(out: Path, name: str, *, numbered: bool = False, overwrite: bool = False) -> Iterator[Folder]:
    """Make a folder to write to, and remove it if the block ends before it is published.

    Args:
        out: the folder to put it in; made if it is not there.
        name: its name in the end.
        numbered: whether to add a number to the name if it is taken.
        overwrite: whether to replace a folder of results that has the name.

    Raises:
        InputError: the name is taken, or ``out`` cannot be written to.
    """
    folder = Folder(out, name, numbered=numbered, overwrite=overwrite)
    folder.check()
    made = not out.exists()
    try:
        folder.path.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"Results cannot be written to {out}: {error.strerror}. Choose another folder (--out)."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)
        if made:
            with suppress(OSError):  # what holds results stays
                out.rmdir()


def results_folder(
    out: Path | None, name: str | None, default: str, *, overwrite: bool
) -> AbstractContextManager[Folder | None]:
    """Make the folder of a command's results, as :func:`new_folder` does; None if there is to be none.

    Args:
        out: the folder of all results; None: nothing is to be written.
        name: what the reader called these; unset: ``default``, with a number if it is taken.
        default: any text that says what they are.
        overwrite: whether to replace earlier results of the name.

    Raises:
        InputError: as for :func:`new_folder`.
    """
    if out is None:
        return nullcontext()
    return new_folder(out, name or plain_name(default), numbered=not name, overwrite=overwrite)


def free_folder(target: Path) -> Path:
    """The path itself, or if something is there, the first with a number behind it where nothing is."""
    if not target.exists():
        return target
    return next(path for n in count(2) if not (path := target.with_name(f"{target.name}-{n}")).exists())
