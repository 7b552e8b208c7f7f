"""The folder that the files of a data set are in, or are downloaded to."""

# ruff: noqa: PLC0415  (torchvision takes long to import, and only sets of image files need it)

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from filelock import FileLock  # torch needs it too

from altprop.experiment.errors import InputError

_ARCHIVES = (".zip", ".tar", ".tgz")


@dataclass(frozen=True)
class Place:
    """Where a data set is looked for.

    Attributes:
        name: of the data set.
        root: the folder that was given.
        download: whether missing files are downloaded.
        origin: where the files are published.
    """

    name: str
    root: Path
    download: bool
    origin: str

    def folder(self, usual: str, marker: str | None = None) -> Path:
        """The folder of the files: the usual one within the root, or the root itself if it is that folder.

        Args:
            usual: the name of the folder within the root.
            marker: a file or folder by which the root is known to be it, whatever its name.
        """
        itself = self.root.name == usual or (marker is not None and (self.root / marker).exists())
        return self.root if itself else self.root / usual

    def need(
        self, folder: Path, files: Mapping[str, str | None], fetch: Callable[[Path], object] | None, usual: str = "."
    ) -> None:
        """See to it that files are there, and are those that were published.

        Args:
            folder: they are in.
            files: by name, of files or folders, the published MD5 checksum, if there is one.
            fetch: downloads them, and checks them, into ``usual`` within a folder that it is given. None: altprop
                cannot download them.
            usual: the name of that folder within.

        Raises:
            InputError: they are not; the message names them, and says what to do.
        """
        absent, damaged = _faults(folder, files)
        if (absent or damaged) and self.download and fetch is not None:
            with self._alone():
                if any(_faults(folder, files)):  # no other process has fetched them while this one waited
                    self._fetch(folder, fetch, usual, ", ".join(files))
            absent, damaged = _faults(folder, files)
        command = f"altprop data download {self.name}:{self.root}"
        remedy = f", or let `{command}` fetch them (data.download=true in a recipe)" if fetch else ""
        if absent:
            raise InputError(
                f"{self.name}: {folder} has no {', '.join(absent)}. Put the published files there ({self.origin}), or "
                f"name their folder as {self.name}:FOLDER (data.root){remedy}."
            )
        if damaged:
            raise InputError(
                f"{self.name}: {folder / damaged[0]} is not the published file, by its checksum: it is damaged or "
                f"another one. Put the published one in its place ({self.origin}){remedy}."
            )

    def _alone(self) -> FileLock:
        """Of the processes of a machine that want the same files, such as those that train together, one fetches."""
        # Not in the folder itself, where a failed download leaves nothing; by the user, who alone may open the file.
        place = hashlib.blake2b(f"{Path.home()} {self.root.resolve()}".encode(), digest_size=8).hexdigest()
        return FileLock(Path(gettempdir()) / f"altprop-{place}.lock")

    def _fetch(self, folder: Path, fetch: Callable[[Path], object], usual: str, files: str) -> None:
        try:
            with _scratch(self.root) as scratch:
                fetch(scratch)
                _move(scratch / usual, folder)
        # Torchvision raises RuntimeError for a wrong checksum, and what urllib, ssl, zipfile and tarfile raise.
        except Exception as error:
            raise InputError(
                f"{self.name} could not be downloaded ({' '.join(str(error).split())[:200]}). Put {files} into "
                f"{folder} yourself, from {self.origin}."
            ) from error


def _faults(folder: Path, files: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    from torchvision.datasets.utils import check_integrity

    absent = [name for name in files if not (folder / name).exists()]
    there = {name: md5 for name, md5 in files.items() if md5 is not None and name not in absent}
    return absent, [name for name, md5 in there.items() if not check_integrity(folder / name, md5)]


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A folder beside the place that files are for; it is removed in the end, with all that is still in it."""
    made = [parent for parent in (root, *root.parents) if not parent.exists()]
    root.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(dir=root, prefix=".download-"))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # a folder that holds something stays
            for folder in made:
                folder.rmdir()


def _move(source: Path, target: Path) -> None:
    """Move what is in a folder, but for the archives that were unpacked, to another on the same disk."""
    target.mkdir(parents=True, exist_ok=True)
    for one in sorted(source.iterdir()):
        there = target / one.name
        if one.suffix in _ARCHIVES:
            continue
        if one.is_dir() and there.is_dir():
            _move(one, there)
        else:
            one.replace(there)
