"""The runs that folders hold: found at any depth, told apart by their markers, and read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from altprop.experiment.errors import InputError
from altprop.experiment.records.kinds import is_written, kind_of, read_record
from altprop.experiment.reports.reading_study import read_study
from altprop.experiment.reports.records import Found, Source, Stress, Sweep

_BEST = 10
"""Trials of a sweep that a report shows."""

_KINDS = "a run is what altprop compare, train, sweep, prune, robustness or flax train writes"


# Pruning and robustness each add fields of their own: these are what they share.
class _Named(BaseModel):
    name: str


class _Point(BaseModel):
    kind: str


class _StressResults(BaseModel):
    network: str
    rules: tuple[str, ...]
    data: _Named
    points: tuple[_Point, ...]


def find(folders: Iterable[Path]) -> Found:
    """Read all runs in some folders and below them.

    Args:
        folders: of runs, or of folders of runs.

    Returns:
        The runs, each once, in the order of their folders. Explanations and earlier reports are passed over.

    Raises:
        InputError: a folder is not there, holds no run, or a run is damaged: every one that is, is named.
    """
    found: dict[Path, Source | Sweep | Stress] = {}
    wrong = list[str]()
    for folder in folders:
        if not folder.is_dir():
            wrong.append(f"There is no folder {folder}")
            continue
        read, broken = _below(folder)
        if not read and not broken:
            wrong.append(f"{folder} holds no run ({_KINDS})")
        wrong += broken
        found |= {path: one for path, one in read.items() if path not in found}
    if wrong:
        raise InputError(f"{'; '.join(dict.fromkeys(wrong))}. Leave out what cannot be read.")
    parts = _told_apart(list(found.values()))
    return Found(
        sources=tuple(one for one in parts if isinstance(one, Source)),
        sweeps=tuple(one for one in parts if isinstance(one, Sweep)),
        stresses=tuple(one for one in parts if isinstance(one, Stress)),
    )


def _below(folder: Path) -> tuple[dict[Path, Source | Sweep | Stress], list[str]]:
    read, broken = dict[Path, Source | Sweep | Stress](), list[str]()
    for place in _places(folder):
        try:
            one = _read(place)
        except InputError as error:  # it says which file, and how it is broken
            broken.append(_reason(error))
            continue
        except (ValueError, OSError) as error:
            broken.append(f"{place} is damaged: {_reason(error)}. Repeat the run")
            continue
        if one is not None:
            read[place.resolve()] = one
    return read, broken


def _places(folder: Path) -> Iterator[Path]:
    """The folder and all below it, but those whose names begin with a dot: they are being written."""
    for place, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield Path(place)


def _read(folder: Path) -> Source | Sweep | Stress | None:
    """What a folder holds; None if that is nothing for a report, or nothing yet."""
    kind = kind_of(folder)
    if kind is None or kind not in _READERS or not is_written(folder, kind):
        return None
    return _READERS[kind](folder)


def _read_sweep(folder: Path) -> Sweep:
    from altprop.experiment.sweeps.results import SweepResults  # noqa: PLC0415  (Optuna is slow to import)
    from altprop.experiment.sweeps.table import header, ranked, row  # noqa: PLC0415

    results = SweepResults.load(folder)
    recipe, ended = results.plan.recipe, ranked(results)
    of = f"{recipe.single_rule.name} on {recipe.data.name}, network {recipe.model.name}"
    return Sweep(
        folder=folder,
        name=results.name,
        summary=f"{of}: {len(ended)} of {results.plan.trials} trials have ended, by {results.plan.search}.",
        header=tuple(header(results)),
        rows=tuple(tuple(row(results, trial)) for trial in ended[:_BEST]),
    )


def _read_stress(folder: Path) -> Stress:
    results = _StressResults.model_validate_json(read_record(folder, "pruning", "robustness"))
    of = f"{results.network} on {results.data.name}, {', '.join(results.rules)}"
    return Stress(folder=folder, summary=f"{of}: {', '.join(dict.fromkeys(one.kind for one in results.points))}")


_READERS: dict[str, Callable[[Path], Source | Sweep | Stress]] = {
    "study": read_study,
    "sweep": _read_sweep,
    "pruning": _read_stress,
    "robustness": _read_stress,
}
"""What a report shows, by the kind of its folder."""


def _told_apart(found: list[Source | Sweep | Stress]) -> list[Source | Sweep | Stress]:
    """Runs that have the same name are called by their paths."""
    names = [one.name for one in found if isinstance(one, Source)]
    return [
        _called(one, one.folder.as_posix()) if isinstance(one, Source) and names.count(one.name) > 1 else one
        for one in found
    ]


def _called(source: Source, name: str) -> Source:
    entries = tuple(entry.model_copy(update={"run": name}) for entry in source.entries)
    return source.model_copy(update={"name": name, "entries": entries})


def _reason(error: Exception) -> str:
    """Why something cannot be read, in a line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON, at line {error.lineno}"
    return str(error).partition("\n")[0].rstrip(".")
