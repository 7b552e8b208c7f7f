"""Checkpoints as folders that are there whole or not at all: safetensors, JSON, and a manifest by which to check them.

A checkpoint is written under another name, each file is brought to the disk, and the folder renamed. The one before it
stays until then, for ``last`` also afterwards, as ``last-previous``. Nothing is unpickled.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors.torch import load, save
from torch import Tensor

from altprop.experiment.errors import InputError
from altprop.experiment.records.files import (
    DamagedError,
    check_sum,
    flush_folder,
    seal,
    sum_of,
    unseal,
    write_through,
)

LAST, PREVIOUS, BEST = "last", "last-previous", "best"

_MODEL, _STATE, _FACTS, _MANIFEST = "model.safetensors", "state.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Snapshot:
    """A training as it stood between two steps.

    Attributes:
        model: the state of the network, with what the rule keeps there.
        tensors: all else that is tensors, by name.
        facts: all that JSON can hold.
    """

    model: dict[str, Tensor]
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class BrokenCheckpointError(ValueError):
    """A checkpoint is not what was written. The message says where and how."""


def write_checkpoint(snapshot: Snapshot, folder: Path, *, keep: Path | None = None) -> None:
    """Write a checkpoint in the place of the one that is there.

    Args:
        snapshot: what to write.
        folder: where; the folder above it exists.
        keep: where to leave the one that was there; None: it is removed.
    """
    files = {
        _MODEL: save(snapshot.model),
        _STATE: save(snapshot.tensors),
        _FACTS: json.dumps(snapshot.facts).encode(),
    }
    files[_MANIFEST] = seal({"format": 1, "files": {name: sum_of(data) for name, data in files.items()}})
    new = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
    try:
        new.mkdir()
        for name, data in files.items():
            write_through(new / name, data)
        flush_folder(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)  # on a full disk, it takes what little room there is
        raise
    old = keep or folder.with_name(f"{folder.name}-previous")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    flush_folder(folder.parent)
    if keep is None:
        shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(folder: Path) -> Snapshot:
    """Read a checkpoint, and check that it is what was written.

    Raises:
        BrokenCheckpointError: it is not; the message names the file.
    """
    files = {name: _read(folder, name, entry) for name, entry in _manifest(folder).items()}
    try:
        return Snapshot(load(files[_MODEL]), load(files[_STATE]), json.loads(files[_FACTS]))
    except Exception as error:  # whole by its checksum, and yet none: of another program, or another version
        raise BrokenCheckpointError(f"{folder} is no checkpoint: {str(error).partition(chr(10))[0]}") from error


def find_checkpoint(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The last good checkpoint of a training, and words about each that is not.

    Args:
        folder: of the training of one seed.

    Returns:
        The checkpoint, or None if none was written yet; notes.

    Raises:
        InputError: there are some, and none is good.
    """
    found = _checkpoints(folder)
    notes: list[str] = []
    for path in found:
        try:
            snapshot = read_checkpoint(path)
        except BrokenCheckpointError as error:
            notes.append(f"A checkpoint cannot be used: {error}")
            continue
        if notes:
            notes.append(f"{path} is used instead, of step {snapshot.facts['step']}.")
        return snapshot, notes
    if found:
        raise InputError(
            f"{folder} has no checkpoint that can be used. {notes[0]} Remove the folder to train from the start."
        )
    return None, notes


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of an earlier training."""
    for path in _checkpoints(folder):
        shutil.rmtree(path)


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed left half-written."""
    for path in folder.glob(".*-????????"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    """Those that are there, in the order in which one would go on from them."""
    every = sorted(folder.glob("epoch-*[0-9]"), reverse=True)
    return [path for path in (folder / LAST, folder / PREVIOUS, *every, folder / BEST) if path.is_dir()]


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        entries: dict[str, dict[str, Any]] = unseal(folder / _MANIFEST)["files"]
    except DamagedError as error:
        raise BrokenCheckpointError(f"{folder / _MANIFEST} is missing or damaged.") from error
    return entries


def _read(folder: Path, name: str, entry: dict[str, Any]) -> bytes:
    file = folder / name
    try:
        return check_sum(file, file.read_bytes(), entry)
    except OSError as error:
        raise BrokenCheckpointError(f"{file} cannot be read: {error.strerror}.") from error
    except DamagedError as error:
        raise BrokenCheckpointError(str(error)) from error
