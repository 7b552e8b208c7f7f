r"""The folder of a run: made, gone on with, or replaced, and never anybody else's.

A command opens it, writes, and publishes::

    with Folder.open(out, name, kind="training", resumable=True, overwrite=..., resume=...) as folder:
        if not folder.resumed: ...                      # else check that it is of the same recipe
        folder.write("recipe.yaml", text)               # whole or not at all, on the disk, and summed
        ...                                             # checkpoints and logs: as ownership.py lists them
        with folder.files() as place:                   # a page and pictures, of any names
            write_report(results, place)
        folder.publish()                                # last

A folder is altprop's if it holds a sound :data:`~altprop.experiment.records.files.MARKER`. It is replaced if it also is
of the same kind and holds nothing that altprop did not write. What takes its place is written beside it, under a hidden
name, and swapped in by ``publish``. A run that is ``resumable`` stands in its place from the start, or stays beside the
one that it is to replace, where ``resume`` finds it; any other is there when it is whole. Two writers of one folder
exclude each other by a lock. In a run of several processes, the first one opens the folder.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

from altprop.experiment.errors import InputError
from altprop.experiment.options import check_name
from altprop.experiment.records.files import (
    files_of,
    flush_folder,
    mark,
    mark_all,
    marker_of,
    sum_of,
    sum_through,
    write_whole,
)
from altprop.experiment.records.locks import clear, lock_free_name, lock_name, release
from altprop.experiment.records.ownership import check_kind, check_replaceable, holds_something

_PATIENCE = 60.0  # seconds that one waits for others who write a record
_LONG = 80  # of a name that is made, before a number is added


def plain_name(text: str) -> str:
    """Turn any text into a name that a folder can have.

    Example:
        >>> plain_name("train-lfp:epsilon=0-digits")
        'train-lfp-epsilon-0-digits'
    """
    return re.sub(r"[^\w.+]+", "-", unicodedata.normalize("NFKC", text)).strip("-.")


class Folder:
    """The folder of a run; see :meth:`open`.

    Attributes:
        path: where to write.
        resumed: whether there is a run to go on with.
    """

    def __init__(self, out: Path, name: str, kind: str, *, overwrite: bool, resume: bool, resumable: bool) -> None:
        self._out, self._name, self._kind = out, name, kind
        self._overwrite, self._resume, self._resumable = overwrite, resume, resumable
        self._target, self._pending, self._old = out / name, out / f".{name}.new", out / f".{name}.old"
        self._files: dict[str, list[dict[str, Any]]] = {}
        self.path, self.resumed, self._published, self._shared = self._target, False, False, False
        self._hidden: Path | None = None  # where it is made

    @classmethod
    @contextmanager
    def open(
        cls,
        out: Path,
        name: str,
        *,
        kind: str,
        numbered: bool = False,
        overwrite: bool = False,
        resume: bool = False,
        resumable: bool = False,
    ) -> Iterator[Self]:
        """Open the folder of a run. Unless it is resumable, nothing remains of it if it is not published.

        Args:
            out: the folder of all results; made if it is not there.
            name: of this one.
            kind: what it holds, as ``"training"``.
            numbered: whether to cut a name that is too long, and to add a number to one that is taken.
            overwrite: whether to replace an earlier run of this kind.
            resume: whether to go on with one; if there is none, it is begun.
            resumable: whether a run of this kind can be gone on with.

        Raises:
            InputError: the name is taken or is none, the folder is not altprop's, another process is at it, or the disk
                does not take what is written; what is kept, and how to go on, is said.
        """
        options: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "resumable": resumable}
        name = check_name(name[:_LONG].rstrip("-.") if numbered else name)
        folder = cls(out, name, kind, **options)
        numbered = numbered and not overwrite and not resume
        if not numbered:
            folder._check()
        made = not out.exists()
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock, name = lock_free_name(out, name) if numbered else (lock_name(out, name), name)
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            folder = cls(out, name, kind, **options)
            try:
                folder._begin()
                yield folder
            except OSError as error:
                raise folder._failed(error) from error
            finally:
                if folder._hidden is not None and not (resumable or folder._published):
                    shutil.rmtree(folder._hidden, ignore_errors=True)
        finally:
            release(lock)
            if made:
                with suppress(OSError):  # what holds results stays
                    out.rmdir()

    @classmethod
    def join(cls, out: Path, name: str, *, kind: str) -> Self:
        """The folder of a run that several processes write to at once: made by the first, and nobody's at the end.

        Raises:
            InputError: as for :meth:`open`.
        """
        folder = cls(out, check_name(name), kind, overwrite=False, resume=True, resumable=True)
        folder._check()
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock = lock_name(out, name, wait=_PATIENCE)
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            folder._begin()
        finally:
            release(lock)
        folder._shared = True
        return folder

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file that is read again: whole or not at all, with its sum. ``name`` may hold folders."""
        data, file = content.encode() if isinstance(content, str) else content, self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            # Both sums are right until the file is replaced, so that a kill between the two leaves no damage.
            self._files[name] = [sum_of(data), *self._right_sums(name)]
            self._mark()
            write_whole(file, data)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process that has joined change the sums."""
        if not self._shared:
            yield
            return
        lock = lock_name(self._out, self._name, wait=_PATIENCE)
        try:
            self._files = marker_of(self.path)["files"]
            yield
        finally:
            release(lock)

    @contextmanager
    def files(self) -> Iterator[Path]:
        """A folder to write files of any names to, which come to their place when the block ends."""
        place = self.path / f".files-{uuid4().hex[:8]}"
        place.mkdir()
        try:
            yield place
            found = {path.relative_to(place).as_posix(): path for path in files_of(place)}
            self._files |= {name: [sum_through(file), *self._right_sums(name)] for name, file in found.items()}
            self._mark()
            for name, file in found.items():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                file.replace(self.path / name)
            flush_folder(self.path)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def publish(self) -> Path:
        """Bring the folder to its place, and say where that is. It is whole now."""
        if not self._resumable:
            mark_all(self.path, self._kind, name=self._name)
        if self.path != self._target:
            self._swap()
        self._published = True
        return self.path

    def _begin(self) -> None:
        """Under the lock: find the run, or begin it."""
        try:
            clear(self._out, self._name)
            if self._old.is_dir():
                # A kill while the two were swapped: the old one is back, the new one still beside it.
                shutil.rmtree(self._old) if os.path.lexists(self._target) else self._old.rename(self._target)
            self._check()
            there = [path for path in (self._pending, self._target) if holds_something(path)]
            if self._resume and there:
                self.path, self.resumed = there[0], True
                self._files = marker_of(self.path)["files"]
                return
            if self._resumable and self._pending.is_dir():
                shutil.rmtree(self._pending)
            self._make(self._pending if there else self._target)
        except OSError as error:
            raise _unwritable(self._out, error) from error

    def _make(self, place: Path) -> None:
        """Make it beside its place; one that is resumable comes there as soon as it is marked."""
        self.path = self._hidden = self._out / f".{self._name}-{uuid4().hex[:8]}"
        try:
            self.path.mkdir()
            self._mark()
            if self._resumable:
                self.path = self.path.rename(place)
                flush_folder(self._out)
        except BaseException:  # an interruption too leaves nothing half-made
            shutil.rmtree(self._hidden, ignore_errors=True)
            raise

    def _check(self) -> None:
        """Check that the folder may be made, gone on with, or replaced."""
        target, there = self._target, os.path.lexists(self._target) or self._pending.is_dir()
        if there and not (self._overwrite or self._resume):
            go_on = ", or go on with it (--resume)" if self._resumable else ""
            between = "," if self._resumable else ", or"
            raise InputError(f"{target} exists. Choose another name (--name){between} replace it (--overwrite){go_on}.")
        if self._resume and holds_something(self._pending):
            check_kind(self._pending, self._kind, "gone on with")
        elif self._resume and os.path.lexists(target):
            if target.is_symlink() or not target.is_dir() or holds_something(target):
                check_kind(target, self._kind, "gone on with")
        elif self._overwrite:
            for path in (target, self._pending):
                if os.path.lexists(path):
                    check_replaceable(path, self._kind)

    def _mark(self) -> None:
        mark(self.path, self._kind, self._files, name=self._name)

    def _right_sums(self, name: str) -> list[dict[str, Any]]:
        """The sum of the file that is there, if it is what was written."""
        try:
            found = sum_of((self.path / name).read_bytes())
        except OSError:
            return []
        return [found] if found in self._files.get(name, []) else []

    def _swap(self) -> None:
        target = self._target
        try:
            self._check()
        except InputError:
            target = free_folder(target)  # rather a number than what came there in the meantime lost
        if os.path.lexists(target):
            target.rename(self._old)
        try:
            self.path = self.path.rename(target)
        except OSError:
            if self._old.is_dir():
                self._old.rename(target)
            raise
        flush_folder(self._out)
        shutil.rmtree(self._old, ignore_errors=True)

    def _failed(self, error: OSError) -> InputError:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        if self._resumable:
            kept = f"What was done is kept in {self.path}: mend that, and go on with --resume --name {self._name}."
        elif self._published:
            kept = f"What was done is kept in {self.path}."
        else:
            kept = f"Nothing was written: {self._target} is as it was before."
        return InputError(f"{what}. {kept}")


class _Output(Protocol):
    """Settings that say where results go."""

    @property
    def out(self) -> Path | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def overwrite(self) -> bool: ...


def results_folder(settings: _Output, default: str, *, kind: str) -> AbstractContextManager[Folder | None]:
    """Open the folder of results that come there when they are whole; None if there is to be none.

    Args:
        settings: say where: ``out``, None: nowhere; ``name``, unset: ``default``, with a number if it is taken;
            ``overwrite``.
        default: any text that says what the results are.
        kind: as for :meth:`Folder.open`.

    Raises:
        InputError: as for :meth:`Folder.open`.
    """
    if settings.out is None:
        return nullcontext()
    name = settings.name or plain_name(default)
    return Folder.open(settings.out, name, kind=kind, numbered=not settings.name, overwrite=settings.overwrite)


def name_of(folder: Path) -> str:
    """What ``--name`` calls a folder that :meth:`Folder.open` gave, which may stand beside its place.

    Example:
        >>> name_of(Path("runs/.mine.new")), name_of(Path("runs/mine"))
        ('mine', 'mine')
    """
    hidden = re.fullmatch(r"\.(.+)\.new", folder.name)
    return hidden[1] if hidden else folder.name


def free_folder(target: Path) -> Path:
    """The path itself, or if something is there, the first with a number behind it where nothing is."""
    if not os.path.lexists(target):
        return target
    return next(path for n in count(2) if not os.path.lexists(path := target.with_name(f"{target.name}-{n}")))


def _unwritable(out: Path, error: OSError) -> InputError:
    return InputError(f"Results cannot be written to {out}: {error.strerror}. Choose another folder (--out).")
