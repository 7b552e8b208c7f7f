"""Networks under a growing stress, such as weights taken from them: their scores, and how much they withstand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, computed_field

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.labels import base_name
from altprop.experiment.metrics import METRICS
from altprop.experiment.records.kinds import read_record
from altprop.experiment.records.statistics import Lead, Spread
from altprop.experiment.registry import REFERENCE


class Point(BaseModel):
    """One network under one stress.

    Attributes:
        kind: of the stress: what weights are ranked by, or the attack.
        rule: that trained the network.
        seed: of its training.
        level: how much of the stress: the fraction that is pruned, or the size of the attack.
        score: on the test data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    rule: str
    seed: int
    level: float
    score: float


class Curve(BaseModel):
    """The networks of one rule under one kind of stress.

    Attributes:
        kind: of the stress.
        rule: the label of the rule.
        seeds: how many networks.
        levels: of the stress, rising from 0.
        scores: at each level.
        withstands: up to which level the score loses no more than the tolerance, read off between the levels; the
            highest level of all for a network that never loses more.
        lead: how much more that is than for backprop's networks, seed by seed; None of these themselves, and without
            them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    rule: str
    seeds: int
    levels: tuple[float, ...]
    scores: tuple[Spread, ...]
    withstands: Spread
    lead: Lead | None


class StressResults(BaseModel):
    """What came out of putting networks under stress.

    Attributes:
        source: the folder of the networks.
        network: the name of the network.
        rules: the labels of the rules, in their order.
        data: what the networks were trained on.
        tolerance: what a score may lose.
        created: when, as ISO 8601.
        versions: of Python and the packages, and the machine's kind.
        points: every network under every stress.
        interrupted: whether it was stopped before its end; then the points are of the networks that were done.
        notes: what the reader should know.
        folder: where the results were written; not saved with them.
    """

    model_config = ConfigDict(ser_json_inf_nan="null")

    held_by: ClassVar[tuple[str, ...]] = ("pruning", "robustness")
    """The kinds of folders that hold such results."""

    source: str
    network: str
    rules: tuple[str, ...]
    data: DataFacts
    tolerance: float
    created: str
    versions: dict[str, str]
    points: tuple[Point, ...]
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    folder: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read earlier results.

        Args:
            folder: what ``results.folder`` was.

        Raises:
            InputError: there are none, or they are damaged.
        """
        return cls.model_validate_json(read_record(Path(folder), *cls.held_by))

    @property
    def metric(self) -> str:
        """The name of the score: accuracy, R² or squared error."""
        return METRICS[self.data.task].name

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of stress, in the order asked for."""
        return tuple(dict.fromkeys(point.kind for point in self.points))

    @computed_field(repr=False)  # type: ignore[prop-decorator]  # mypy does not know computed_field on a property
    @property
    def curves(self) -> tuple[Curve, ...]:
        """A curve for each kind of stress and each rule, in the order asked for."""
        done = {(point.kind, point.rule) for point in self.points}
        return tuple(self._curve(kind, rule) for kind in self.kinds for rule in self.rules if (kind, rule) in done)

    def curves_of(self, kind: str) -> tuple[Curve, ...]:
        """The curves of a kind of stress."""
        return tuple(curve for curve in self.curves if curve.kind == kind)

    def _curve(self, kind: str, rule: str) -> Curve:
        by_seed = self._by_seed(kind, rule)
        levels = tuple(next(iter(by_seed.values())))
        return Curve(
            kind=kind,
            rule=rule,
            seeds=len(by_seed),
            levels=levels,
            scores=tuple(Spread.of(scores[level] for scores in by_seed.values()) for level in levels),
            withstands=Spread.of(self._withstood(kind, rule).values()),
            lead=self._lead(kind, rule),
        )

    def _by_seed(self, kind: str, rule: str) -> dict[int, dict[float, float]]:
        """By seed the scores by level."""
        found: dict[int, dict[float, float]] = {}
        for point in self.points:
            if (point.kind, point.rule) == (kind, rule):
                found.setdefault(point.seed, {})[point.level] = point.score
        return found

    def _withstood(self, kind: str, rule: str) -> dict[int, float]:
        gain = METRICS[self.data.task].gain
        return {
            seed: withstands({level: gain(scores[0.0], one) for level, one in scores.items()}, self.tolerance)
            for seed, scores in self._by_seed(kind, rule).items()
        }

    def _lead(self, kind: str, rule: str) -> Lead | None:
        if base_name(rule) == REFERENCE:
            return None
        mine, others = self._withstood(kind, rule), self._withstood(kind, REFERENCE)
        return Lead.of(mine[seed] - others[seed] for seed in mine.keys() & others.keys())


Found = TypeVar("Found", bound=Point)


def until_interrupted(passes: Iterable[Sequence[Found]], planned: int) -> tuple[tuple[Found, ...], str]:
    """The points of all networks as they are done; of one that an interruption came to, none is kept.

    Args:
        passes: of one network under one kind of stress each.
        planned: how many there are.

    Returns:
        The points; and what to say of an interruption, which is empty without one.

    Raises:
        KeyboardInterrupt: it came before anything was done.
    """
    done: list[Sequence[Found]] = []
    try:
        done.extend(passes)
    except KeyboardInterrupt:
        if not done:
            raise
    points = tuple(point for one in done for point in one)
    if len(done) == planned:
        return points, ""
    return points, f"Interrupted: {len(done)} of {planned} passes were done, of a network under a kind of stress each."


def withstands(losses: dict[float, float], tolerance: float) -> float:
    """Up to which level a loss stays within a tolerance: where the line between two levels first crosses it.

    Args:
        losses: by rising levels, from 0, where nothing is lost.
        tolerance: what may be lost.

    Example:
        >>> withstands({0.0: 0.0, 0.5: 0.01, 1.0: 0.09}, tolerance=0.05)
        0.75
    """
    levels = list(losses)
    for below, above in pairwise(levels):
        if losses[above] > tolerance:
            part = (tolerance - losses[below]) / (losses[above] - losses[below])
            return below + part * (above - below)
    return levels[-1]
