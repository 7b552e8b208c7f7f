"""Figures over seeds, whether one rule is ahead of another, and whether a score is above chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict

LEVEL = 0.05
"""Of the paired t-test, two-sided: of 20 pairs of rules that are alike, one is taken to differ."""

CHANCE_LEVEL = 0.01
"""Of the binomial test against guessing, one-sided."""


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

    def text(self, form: str = "{:.3f}") -> str:
        """For the reader: mean ± deviation, each in the form that is given."""
        if self.mean is None:
            return "–"
        return form.format(self.mean) + ("" if self.deviation is None else f" ± {form.format(self.deviation)}")


class Lead(BaseModel):
    """How far one rule is ahead of another, and whether that can be told from nothing.

    Attributes:
        gain: the mean difference, positive if the one is better.
        error: its standard error; None with one seed.
        seeds: how many there were of both: networks of the same seed began with the same weights and saw the same
            batches, so that the difference is taken seed by seed.
        p: of a paired t-test, two-sided; None with one seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain: float
    error: float | None
    seeds: int
    p: float | None

    @classmethod
    def of(cls, gains: Mapping[int, float] | Iterable[float]) -> Lead | None:
        """The lead that gains are, those of each seed; None without any.

        Example:
            >>> Lead.of([0.1, 0.11, 0.09]).text(), Lead.of([0.1, -0.1]).text(), Lead.of([0.1]).text()
            ('yes: +0.100 ± 0.006', '+0.000 ± 0.100 (p = 1.00)', '+0.100 (one seed)')
        """
        gains = list(gains.values() if isinstance(gains, Mapping) else gains)
        if not gains:
            return None
        gain = fmean(gains)
        if len(gains) == 1:
            return cls(gain=gain, error=None, seeds=1, p=None)
        error = stdev(gains) / math.sqrt(len(gains))
        p = (0.0 if gain else 1.0) if not error else two_sided_p(gain / error, len(gains) - 1)
        return cls(gain=gain, error=error, seeds=len(gains), p=p)

    @property
    def verdict(self) -> Literal["yes", "no"] | None:
        """Whether it is ahead at :data:`LEVEL`: yes; or no, it is behind; None if the test does not tell."""
        if self.p is None or self.p >= LEVEL:
            return None
        return "yes" if self.gain > 0 else "no"

    def text(self, form: str = "{:.3f}") -> str:
        """For the reader: the verdict, if there is one, and the figures that it rests on."""
        number = self.number(form)
        if self.verdict:
            return f"{self.verdict}: {number}"
        return number + (" (one seed)" if self.p is None else f" (p = {self.p:.2f})")

    def number(self, form: str = "{:.3f}") -> str:
        """For the reader: the difference ± its standard error, without a verdict."""
        return signed(self.gain, form) + ("" if self.error is None else f" ± {form.format(self.error)}")


LEAD_NOTE = (
    f"the mean difference ± its standard error, taken seed by seed; yes or no where a paired t-test tells it from 0 at "
    f"a level of {LEVEL:g}, and p where it does not"
)
"""What :meth:`Lead.text` shows, in words."""


def signed(number: float, form: str) -> str:
    """A number with its sign, that of zero being +."""
    return ("−" if number < 0 else "+") + form.format(abs(number))


def two_sided_p(t: float, freedom: int) -> float:
    """The probability of a value of Student's t as large as this, or larger, in size.

    Args:
        t: the value.
        freedom: the degrees of freedom, 1 or more.

    Reference:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    Example:
        >>> round(two_sided_p(4.303, 2), 3), round(two_sided_p(1.0, 1), 3)
        (0.05, 0.5)
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = cosine if odd else 1.0, 0.0
    for n in range(2 if odd else 1, freedom, 2):
        total += term
        term *= cosine**2 * n / (n + 1)
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - inside)


def is_above_chance(right: int, samples: int, chance: float) -> bool:
    """Whether so many right answers are more than guessing gives, by a binomial test at :data:`CHANCE_LEVEL`.

    Args:
        right: how many answers are right.
        samples: of how many.
        chance: the probability of a right guess: for who always names the most common class, its share.

    Example:
        >>> is_above_chance(60, 100, 0.5), is_above_chance(70, 100, 0.5)
        (False, True)
    """
    if not 0 < chance < 1:
        return False
    logs = (
        math.lgamma(samples + 1)
        - math.lgamma(k + 1)
        - math.lgamma(samples - k + 1)
        + k * math.log(chance)
        + (samples - k) * math.log1p(-chance)
        for k in range(right, samples + 1)
    )
    return math.fsum(map(math.exp, logs)) < CHANCE_LEVEL
