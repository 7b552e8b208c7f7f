"""The folder of a training: made, replaced or gone on with; and the facts about how it was made."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe, dump_recipe, load_recipe
from altprop.experiment.recipes.differences import check_same_recipe
from altprop.experiment.records.files import write_whole
from altprop.experiment.records.folder import free_folder
from altprop.experiment.records.machine import versions

RECIPE, FACTS, WEIGHTS = "recipe.yaml", "facts.json", "model.safetensors"


class Place:
    """Where a training goes.

    Args:
        out: the folder of all results.
        name: of this one's.
        numbered: whether to add a number to a name that is taken.
        overwrite: whether to replace an earlier training.
        resume: whether to go on with an earlier training.
    """

    def __init__(self, out: Path, name: str, *, numbered: bool, overwrite: bool, resume: bool) -> None:
        self._out, self._name, self._overwrite, self._resume = out, name, overwrite, resume
        self._numbered = numbered and not overwrite and not resume

    def make(self, recipe: Recipe) -> Path:
        """Make the folder, with what is known before the training.

        Raises:
            InputError: it is taken, is of another recipe, or cannot be written to; nothing was changed.
        """
        folder = free_folder(self._out / self._name) if self._numbered else self._out / self._name
        there = folder.is_dir() and any(folder.iterdir())
        if there and self._resume:
            return self._go_on(folder, recipe)
        if there and not self._overwrite:
            raise InputError(
                f"{folder} exists. Choose another name (--name), replace it (--overwrite), or go on with it (--resume)."
            )
        if there and not (folder / RECIPE).is_file():
            raise InputError(f"{folder} does not hold a training, so it is not replaced. Choose another name.")
        if there:
            shutil.rmtree(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Results cannot be written to {self._out}: {error.strerror}. Choose another folder (--out)."
            ) from error
        write_whole(folder / FACTS, json.dumps(_facts(recipe), indent=2))
        write_whole(folder / RECIPE, dump_recipe(recipe))
        return folder

    def _go_on(self, folder: Path, recipe: Recipe) -> Path:
        if not (folder / RECIPE).is_file():
            raise InputError(f"{folder} holds no training to go on with: it has no {RECIPE}.")
        check_same_recipe(load_recipe(folder / RECIPE).model_dump(mode="json"), recipe, f"{folder / RECIPE}")
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        facts.setdefault("resumed", []).append(_facts(recipe))
        write_whole(folder / FACTS, json.dumps(facts, indent=2))
        write_whole(folder / RECIPE, dump_recipe(recipe))
        return folder


def _facts(recipe: Recipe) -> dict[str, Any]:
    device = "cuda" if recipe.machine.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "versions": versions(device),
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """The commit of the working directory, and whether files differ from it; None outside of a repository."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=20).stdout
