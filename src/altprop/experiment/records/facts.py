"""The facts about a training: by which recipe, with which packages, from which state of the code."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from altprop.experiment.recipes import Recipe, dump_recipe, parse_recipe
from altprop.experiment.recipes.differences import check_same_recipe
from altprop.experiment.records.files import read_checked_text
from altprop.experiment.records.folder import Folder

RECIPE, FACTS, WEIGHTS = "recipe.yaml", "facts.json", "model.safetensors"


def write_facts(folder: Folder, recipe: Recipe, versions: dict[str, str]) -> None:
    """Write the recipe and the facts of a training that begins, or goes on.

    Args:
        folder: of the training.
        recipe: what is done.
        versions: of what it depends on.

    Raises:
        InputError: it is to go on by another recipe, or its files are damaged; nothing was changed.
    """
    facts = _facts(versions)
    # A file that is not there is of a process that was killed before it came to it: what is in checkpoints is checked.
    if (folder.path / RECIPE).is_file():
        text, where = read_checked_text(folder.path / RECIPE), str(folder.path / RECIPE)
        check_same_recipe(parse_recipe(text, source=where, own=True).model_dump(mode="json"), recipe, where)
    if (folder.path / FACTS).is_file():
        before = json.loads(read_checked_text(folder.path / FACTS))
        facts = before | {"resumed": [*before.get("resumed", []), facts]}
    folder.write(FACTS, json.dumps(facts, indent=2))
    folder.write(RECIPE, dump_recipe(recipe))


def _facts(versions: dict[str, str]) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "versions": versions,
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
