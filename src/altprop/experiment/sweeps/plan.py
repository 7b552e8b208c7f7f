"""What a sweep is: written once into its database, and read there by every worker."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import Recipe, SearchSection
from altprop.experiment.sweeps.space import Space

Search = Literal["grid", "tpe", "random"]


class Plan(BaseModel):
    """What a sweep is.

    Attributes:
        recipe: what every trial starts from, with the search that is left once fixed values have dropped out.
        search: in which way.
        trials: how many there are in all.
        grace: seconds without a sign of life after which a worker is taken for dead.
        created: when, as ISO 8601.
        versions: of Python and the packages where it was started.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    search: Search
    trials: int
    grace: int
    created: str
    versions: dict[str, str]

    @property
    def section(self) -> SearchSection:
        """The recipe's search."""
        if self.recipe.search is None:
            raise InputError("The recipe has no section search: name what to search in search.space.")
        return self.recipe.search

    @property
    def space(self) -> Space:
        """What is searched."""
        return Space(self.section.space)

    def points(self) -> list[dict[str, Any]]:
        """For each trial the values that it is given; those that it is not are drawn by the sampler."""
        return self.space.grid(self.trials) if self.search == "grid" else [{}] * self.trials

    def check_same(self, other: Plan, name: str) -> None:
        """Check that a sweep of this name, which is there, is the one that was asked for.

        Args:
            other: what was asked for.
            name: of the sweep.

        Raises:
            InputError: it is not; the message names the first key that differs.
        """
        kept, asked = (_flat({"recipe": plan.recipe.model_dump(mode="json"), **_own(plan)}) for plan in (self, other))
        for key in dict.fromkeys((*kept, *asked)):
            if kept.get(key) != asked.get(key):
                raise InputError(
                    f"The sweep {name!r} exists with another {key.removeprefix('recipe.')}: it has {kept.get(key)!r}, "
                    f"and {asked.get(key)!r} was asked for. Take the same recipe to resume it, or another --name."
                )


def _own(plan: Plan) -> dict[str, Any]:
    return {"search": plan.search, "trials": plan.trials}


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        # The keys of search.space have dots of their own, and their order is that of the grid.
        inner = isinstance(value, dict) and value and not before.endswith("space.")
        flat |= _flat(value, f"{before}{key}.") if inner else {f"{before}{key}": value}
    return flat
