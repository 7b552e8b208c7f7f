"""What is searched: by dotted key of the recipe, a list of choices or a range of numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import product
from random import Random
from typing import Any, Self

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, ValidationError, model_validator

from altprop.experiment.errors import InputError
from altprop.experiment.recipes import check_recipe
from altprop.experiment.recipes.loading import key_of
from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.sections import Section

_MOST_GRID_POINTS = 10_000
_DRAWS = 16  # of other values, one of which must go together with a value that is checked


class Choices:
    """A list of values, in no order.

    Args:
        values: any that a recipe can hold.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        # A database holds numbers and text; what is neither is held as text.
        self._values = {
            value if isinstance(value, bool | int | float | str | None) else json.dumps(value): value
            for value in values
        }

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        return CategoricalDistribution(list(self._values))

    def grid(self, key: str) -> list[Any]:
        """The values, as Optuna holds them."""
        return list(self._values)

    def some(self) -> list[Any]:
        """Values that stand for all."""
        return list(self._values.values())

    def value(self, held: Any) -> Any:
        """The value that Optuna holds as this."""
        return self._values[held]


class Range(Section):
    """Numbers from a lowest to a highest; whole ones if both are whole.

    Attributes:
        low: the lowest.
        high: the highest.
        log: whether equal ratios are equally far apart, rather than equal differences.
        step: the difference between neighbours. Unset: any number will do.
        points: how many of them a grid has. Unset: as ``step`` says; one for each factor of 10 with ``log``; or every
            whole number.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)
    points: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InputError(f"low must be below high, got {self.low} and {self.high}.")
        if self.log and self.step:
            raise InputError("A range has either log or step; say how many points a grid has with points.")
        if self.log and self.low <= 0:
            raise InputError(f"A range with log begins above 0, got {self.low}.")
        return self

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        if self._whole:
            return IntDistribution(int(self.low), int(self.high), self.log, int(self.step or 1))
        return FloatDistribution(self.low, self.high, self.log, self.step)

    def grid(self, key: str) -> list[Any]:
        """The points of a grid.

        Args:
            key: what is searched, for errors.

        Raises:
            InputError: the range does not say which.
        """
        if self.step and not self.points:
            count = math.floor((self.high - self.low) / self.step * (1 + 1e-9)) + 1
            return [_neat(self.low + number * self.step, self._whole) for number in range(count)]
        count = self.points or self._natural_points(key)
        parts = [number / (count - 1) for number in range(count)]
        between = [self.low * (self.high / self.low) ** part if self.log else self._at(part) for part in parts]
        return list(dict.fromkeys(_neat(number, self._whole) for number in between))

    def some(self) -> list[Any]:
        """Values that stand for all."""
        return [self.low, self.high]

    def value(self, held: Any) -> Any:
        """The value that Optuna holds as this."""
        return held

    @property
    def _whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    def _at(self, part: float) -> float:
        return self.low + part * (self.high - self.low)

    def _natural_points(self, key: str) -> int:
        if self.log:
            return max(2, round(math.log10(self.high / self.low)) + 1)
        if self._whole:
            return int(self.high - self.low) + 1
        raise InputError(f"search.space: {key}: a grid needs to know its points: give step, points, log or a list.")


def _neat(number: float, whole: bool) -> int | float:
    """Without the noise of floating point: 0.001, not 0.0010000000000000002."""
    return round(number) if whole else float(f"{number:.12g}")


class Space:
    """All that is searched.

    Args:
        entries: ``search.space`` of a recipe.
        fixed: keys that were given a value, which drop out of the search.

    Raises:
        InputError: an entry is neither a list nor a range, or nothing is left to search.

    Example:
        >>> space = Space({"model.norm": ["none", "batch"], "optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}})
        >>> [point["optimizer.lr"] for point in space.grid()]
        [0.001, 0.01, 0.1, 0.001, 0.01, 0.1]
        >>> list(Space({"model.norm": ["none", "batch"], "optimizer.lr": [0.1]}, fixed=["optimizer.lr"]).parts)
        ['model.norm']
    """

    def __init__(self, entries: Mapping[str, Any], fixed: Iterable[str] = ()) -> None:
        fixed = tuple(fixed)
        self.parts = {key: _part(key, entry) for key, entry in entries.items() if not _is_fixed(key, fixed)}
        if not self.parts:
            every = f" Every key of it is fixed: {', '.join(entries)}." if entries else ""
            raise InputError(f"search.space: there is nothing to search.{every} Name a key and its values.")

    def grid(self, trials: int | None = None) -> list[dict[str, Any]]:
        """The points of the grid, as Optuna holds them.

        Args:
            trials: how many of them, drawn at random, in the order of the grid. Unset: all.

        Raises:
            InputError: a range does not say what its points are, or there are too many.
        """
        values = [part.grid(key) for key, part in self.parts.items()]
        count = math.prod(map(len, values))
        if count > _MOST_GRID_POINTS:
            raise InputError(f"search.space: the grid has {count:,} points. Search it with --search tpe or random.")
        points = [dict(zip(self.parts, point, strict=True)) for point in product(*values)]
        if trials is None or trials >= count:
            return points
        return [points[number] for number in sorted(Random(0).sample(range(count), trials))]

    def draw(self, trial: Trial) -> dict[str, Any]:
        """The values of a trial, by dotted key: those it has been given, or drawn by the sampler."""
        drawn = {}
        for key, part in self.parts.items():
            match part.distribution:
                case IntDistribution() as d:
                    held: Any = trial.suggest_int(key, d.low, d.high, step=d.step, log=d.log)
                case FloatDistribution() as d:
                    held = trial.suggest_float(key, d.low, d.high, step=d.step, log=d.log)
                case CategoricalDistribution() as d:
                    held = trial.suggest_categorical(key, d.choices)
            drawn[key] = part.value(held)
        return drawn

    def values(self, held: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a trial, from what Optuna holds."""
        return {key: part.value(held[key]) for key, part in self.parts.items() if key in held}

    def check(self, recipe: Recipe) -> None:
        """Check that the recipe takes every value, if not with all values of the other keys.

        Raises:
            InputError: it does not; the message names the key and the value.
        """
        random = Random(0)
        others = [{key: random.choice(part.some()) for key, part in self.parts.items()} for _ in range(_DRAWS)]
        for key, part in self.parts.items():
            for value in part.some():
                _check_value(recipe, key, value, others)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values.

    Args:
        recipe: any.
        values: by dotted key.

    Raises:
        InputError: the recipe does not take one.

    Example:
        >>> with_values(Recipe(), {"optimizer.lr": 0.25, "rule.name": "dfa"}).optimizer.lr
        0.25
    """
    tree = recipe.model_dump(exclude_unset=True)
    for key, value in values.items():
        *parents, last = key.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    try:
        changed = Recipe.model_validate(tree)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(key_of(detail["loc"]))
        raise InputError(f"{where}: {_said(detail)}, got {detail['input']!r}.") from error
    check_recipe(changed)
    return changed


def _check_value(recipe: Recipe, key: str, value: Any, others: Iterable[Mapping[str, Any]]) -> None:
    first: InputError | None = None
    for other in others:
        try:
            with_values(recipe, {**other, key: value})
        except InputError as error:
            first = first or error
        else:
            return
    raise InputError(f"search.space: {key}: {value!r} cannot be tried. {first}") from first


def _said(detail: Any) -> str:
    """What pydantic complains of."""
    return str(detail.get("ctx", {}).get("error") or detail["msg"])


def _part(key: str, entry: Any) -> Choices | Range:
    if isinstance(entry, Mapping):
        try:
            return Range.model_validate(entry)
        except ValidationError as error:
            detail = error.errors()[0]
            where = "".join(f"{part}: " for part in detail["loc"] if part not in ("int", "float"))
            raise InputError(f"search.space: {key}: {where}{_said(detail).removesuffix('.')}.") from error
    if isinstance(entry, list | tuple) and entry:
        return Choices(entry)
    raise InputError(f"search.space: {key}: give a list of choices or {{low: …, high: …}}, got {entry!r}.")


def _is_fixed(key: str, fixed: Iterable[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in fixed)
