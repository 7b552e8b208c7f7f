"""Statistics over seeds: against tables and sums that are exact."""

import math
from fractions import Fraction

import pytest

from altprop.experiment.records.statistics import CHANCE_LEVEL, Lead, Spread, is_above_chance, two_sided_p

# Abramowitz and Stegun, table 26.10: by degrees of freedom the t that has a probability of 0.05, and of 0.001.
TABLE = {1: (12.706, 636.619), 2: (4.303, 31.598), 3: (3.182, 12.924), 4: (2.776, 8.610), 9: (2.262, 4.781)}
TABLE |= {10: (2.228, 4.587), 29: (2.045, 3.659)}


@pytest.mark.parametrize("freedom", TABLE)
def test_students_t_is_that_of_the_table(freedom):
    for t, p in zip(TABLE[freedom], (0.05, 0.001), strict=True):
        assert two_sided_p(t, freedom) == pytest.approx(p, rel=2e-3)
        assert two_sided_p(-t, freedom) == two_sided_p(t, freedom)
    assert two_sided_p(0, freedom) == 1


def test_a_lead_is_the_mean_difference_and_its_standard_error():
    found = Lead.of({0: 0.1, 3: 0.3, 4: 0.2})
    assert found.gain == pytest.approx(0.2)
    assert found.error == pytest.approx(math.sqrt(0.02 / 2 / 3))  # squares of ±0.1, over n − 1, over n
    assert found.seeds == 3
    assert found.p == pytest.approx(two_sided_p(0.2 / found.error, 2))


@pytest.mark.parametrize(
    ("gains", "verdict", "text"),
    [
        ([0.1, 0.11, 0.09], "yes", "yes: +0.100 ± 0.006"),
        ([-0.1, -0.11, -0.09], "no", "no: −0.100 ± 0.006"),
        ([0.1, -0.1], None, "+0.000 ± 0.100 (p = 1.00)"),
        ([0.1, 0.1], "yes", "yes: +0.100 ± 0.000"),
        ([0.0, 0.0], None, "+0.000 ± 0.000 (p = 1.00)"),
        ([0.1], None, "+0.100 (one seed)"),
        # More than two standard errors, 0.2 ± 0.06, but of three seeds: t = 3.46 < 4.303.
        ([0.1, 0.2, 0.3], None, "+0.200 ± 0.058 (p = 0.07)"),
    ],
)
def test_a_verdict_needs_the_level(gains, verdict, text):
    found = Lead.of(gains)
    assert (found.verdict, found.text()) == (verdict, text)
    assert "unclear" not in found.text()


def test_without_seeds_there_is_no_lead():
    assert Lead.of({}) is None


def test_a_spread_is_written_in_any_form():
    assert Spread.of([0.25, 0.75]).text("{:.0%}") == "50% ± 35%"
    assert Lead.of([0.25, 0.75]).number("{:.0%}") == "+50% ± 25%"
    assert Spread.of([None]).text() == "–"


def tail(right, samples, chance):
    """The probability of so many right guesses or more, exactly."""
    return sum(
        Fraction(math.comb(samples, k)) * chance**k * (1 - chance) ** (samples - k) for k in range(right, samples + 1)
    )


@pytest.mark.parametrize("chance", [Fraction(1, 10), Fraction(1, 3), Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("samples", [1, 20, 300])
def test_chance_is_left_behind_where_the_binomial_tail_is_below_the_level(chance, samples):
    told = [is_above_chance(right, samples, float(chance)) for right in range(samples + 1)]
    assert told == [tail(right, samples, chance) < CHANCE_LEVEL for right in range(samples + 1)]


def test_with_one_class_there_is_nothing_to_guess():
    assert not is_above_chance(10, 10, 1.0)
