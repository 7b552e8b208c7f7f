"""What a sweep is asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from altprop.experiment.errors import InputError
from altprop.experiment.options import MOST_SEEDS, Name, Options
from altprop.experiment.recipes import dump_recipe, load_recipe, parse_recipe
from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.recipes.shipped import find_recipe
from altprop.experiment.records.folder import plain_name
from altprop.experiment.records.machine import versions
from altprop.experiment.sweeps.plan import Plan, Search
from altprop.experiment.sweeps.space import Space


class SweepSettings(Options):
    """What to search, in which way, by whom.

    Raises:
        pydantic.ValidationError: (a ValueError) a setting is unknown or has a wrong value; the message names it.
    """

    positional: ClassVar[frozenset[str]] = frozenset({"recipe"})

    recipe: Path | Recipe = Field(description="Recipe with a section search: a YAML file, or one of `altprop recipes`.")
    override: tuple[str, ...] = Field(
        default=(), description="KEY=VALUE in place of the recipe's; a key with a value is not searched."
    )
    search: Search = Field(
        default="tpe", description="How to search: grid, tpe (learns from what it has seen), random."
    )
    trials: int | None = Field(
        default=None, ge=1, le=1_000_000, description="How many trials. Unset: as the recipe says."
    )
    executions: int | None = Field(
        default=None,
        ge=1,
        le=MOST_SEEDS,
        description="Networks for each trial, with different seeds. Unset: as the recipe says.",
    )
    storage: str | None = Field(
        default=None, description="Database for many machines: postgresql://user@host/db. Unset: a file, for this one."
    )
    name: Name | None = Field(
        default=None, description="Name of the sweep. A sweep of this name is resumed. Unset: named for the recipe."
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        le=1024,
        description="Processes on this machine; 0 only sets the sweep up. Unset: 1, or 0 with --slurm.",
    )
    grace: int = Field(
        default=60, ge=3, description="Seconds without a sign of life after which a worker is taken for dead."
    )
    slurm: Path | None = Field(default=None, description="Write a script for Slurm that starts workers.")
    out: Path = Field(default=Path("runs"), description="Folder of all results.")

    @property
    def folder(self) -> Path:
        """Where the sweep's files are."""
        return self.out / self.sweep_name

    @property
    def sweep_name(self) -> str:
        """What the sweep is called."""
        stem = self.recipe.stem if isinstance(self.recipe, Path) else self.recipe.data.name
        return self.name or plain_name(f"sweep-{stem}")

    @property
    def processes(self) -> int:
        """How many workers to start."""
        return self.workers if self.workers is not None else int(self.slurm is None)

    def plan(self) -> Plan:
        """What the sweep is.

        Raises:
            InputError: the recipe cannot be read, has nothing to search, or does not take some of its values.
        """
        recipe, fixed = self._recipe()
        if recipe.search is None:
            raise InputError(f"{self._where()}: there is no section search: name what to search in search.space.")
        space = Space(recipe.search.space, fixed)
        space.check(recipe)
        trials = self.trials or recipe.search.trials
        if self.search == "grid":
            trials = len(space.grid(trials))
        if trials is None:
            raise InputError(f"A search by {self.search} needs a number of trials: give --trials, or search.trials.")
        changes = {
            "space": {key: recipe.search.space[key] for key in space.parts},
            "trials": trials,
            "executions": self.executions or recipe.search.executions,
        }
        recipe = recipe.model_copy(update={"search": recipe.search.model_copy(update=changes)})
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Plan(
            recipe=recipe, search=self.search, trials=trials, grace=self.grace, created=now, versions=versions("cpu")
        )

    def _recipe(self) -> tuple[Recipe, list[str]]:
        """The recipe, and the keys that were given a value."""
        fixed = [text.partition("=")[0].strip() for text in self.override]
        if isinstance(self.recipe, Path):
            return load_recipe(find_recipe(str(self.recipe)), self.override), fixed
        return parse_recipe(dump_recipe(self.recipe), self.override), fixed

    def _where(self) -> str:
        return str(self.recipe) if isinstance(self.recipe, Path) else "The recipe"
