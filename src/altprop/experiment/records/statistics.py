"""Figures over seeds: their mean and deviation, and whether one rule is ahead of another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict

Ahead = Literal["yes", "no", "unclear"]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there; None if none is."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


class Spread(BaseModel):
    """A figure over seeds.

    Attributes:
        mean: over seeds; None if there is no figure.
        deviation: the standard deviation; None for fewer than two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    mean: float | None
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """The spread of the values that are there.

        Example:
            >>> Spread.of([0.25, None, 0.75]).text()
            '0.500 ± 0.354'
        """
        there = [value for value in values if value is not None]
        return cls(mean=mean(there), deviation=stdev(there) if len(there) > 1 else None)

    def text(self, decimals: int = 3) -> str:
        """For the reader: mean ± deviation."""
        if self.mean is None:
            return "–"
        around = "" if self.deviation is None else f" ± {self.deviation:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{around}"


def ahead(gains: Mapping[int, float] | Iterable[float]) -> Ahead | None:
    """Whether gains are more than twice their standard error above 0, or below it.

    Args:
        gains: of each seed: networks of the same seed began with the same weights and saw the same batches, so that
            what one is ahead of the other is taken seed by seed. One seed alone is taken at its word.

    Returns:
        ``"yes"``; ``"no"``, also if every gain is exactly 0; ``"unclear"`` if it is neither; None without any gain.

    Example:
        >>> ahead([0.1, 0.11, 0.09]), ahead([0.1, -0.1]), ahead([-0.2]), ahead([])
        ('yes', 'unclear', 'no', None)
    """
    gains = list(gains.values() if isinstance(gains, Mapping) else gains)
    if not gains:
        return None
    gain, error = fmean(gains), stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    if abs(gain) <= 2 * error:
        return "unclear" if any(gains) else "no"
    return "yes" if gain > 0 else "no"
