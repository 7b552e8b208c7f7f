"""The time of a step, side by side, without a trace."""

import pytest
import torch

from altprop.experiment import load_data
from altprop.experiment.records.summary import StepTime
from altprop.experiment.training import timing
from altprop.experiment.training.job import Job
from altprop.experiment.training.timing import step_times
from tests.experiment.toys import Gambler, Hooked
from tests.experiment.training.toys import toy


@pytest.fixture(autouse=True)
def _rounds_enough(monkeypatch, _few_rounds_of_timing):
    monkeypatch.setattr(timing, "_ROUNDS", 30)


CPU = torch.device("cpu")


def jobs(*rules, **sections):
    return {rule: Job(toy(rule=rule, **sections), load_data("circles"), 0) for rule in rules}


class Clock:
    """A clock that rules move on, so that what a step takes does not depend on the machine."""

    def __init__(self, slowness=lambda reading: 1.0):
        self.now, self.readings, self.slowness = 0.0, 0, slowness

    def __call__(self):
        self.readings += 1
        return self.now

    def rule_that_takes(self, seconds):
        def hook(model, name, g):
            if name == "linear1.weight":
                self.now += seconds * self.slowness(self.readings)
            return g

        return lambda: Hooked(hook)


def times_of(clock, register, **seconds):
    for rule, one in seconds.items():
        register(rule, clock.rule_that_takes(one))
    timed = jobs(*seconds)
    return step_times(timed, timed["plain"], CPU, clock)


def test_ratios_are_those_of_the_steps(register):
    times = times_of(Clock(), register, plain=0.002, quick=0.001, slow=0.005)
    assert list(times) == ["plain", "quick", "slow"]
    assert [time.ratio for time in times.values()] == pytest.approx([1, 0.5, 2.5])
    assert all(time.holds and time.rounds == 30 for time in times.values())
    assert times["slow"].low == pytest.approx(2.5) == times["slow"].high


def test_a_machine_that_slows_down_does_not_move_a_ratio(register):
    """Each round of three readings' pairs takes longer than the one before, alike for all within it."""
    slower = Clock(lambda readings: 1.2 ** ((readings - 1) // 6))
    times = times_of(slower, register, plain=0.002, quick=0.001, slow=0.005)
    assert [time.ratio for time in times.values()] == pytest.approx([1, 0.5, 2.5])
    assert times["slow"].holds


def test_a_hiccup_in_some_rounds_does_not_move_a_ratio(register):
    hiccups = Clock(lambda readings: 50.0 if readings in {21, 57, 113} else 1.0)
    assert times_of(hiccups, register, plain=0.002, slow=0.005)["slow"].ratio == pytest.approx(2.5)


def test_ratios_that_waver_more_than_they_say_do_not_hold(register):
    wild = Clock(lambda readings: 3.0 if readings % 7 < 3 else 1.0)
    times = times_of(wild, register, plain=0.002, slow=0.0022)
    assert times["plain"].holds, "a step beside itself takes as long"
    assert not times["slow"].holds
    assert times["slow"].low < 1.1 < times["slow"].high


@pytest.mark.parametrize(
    ("ratio", "low", "high", "rounds", "holds"),
    [
        (1.0, 0.92, 1.09, 60, True),  # as long, give or take a tenth
        (1.02, 0.89, 1.14, 60, False),
        (1.5, 1.3, 1.7, 60, True),
        (1.5, 1.2, 1.8, 60, False),  # half as long again, give or take more than half
        (0.5, 0.3, 0.7, 60, True),
        (1.5, 1.4, 1.6, 5, False),
    ],
)
def test_a_ratio_holds_if_it_says_more_than_it_wavers(ratio, low, high, rounds, holds):
    assert StepTime(ratio=ratio, low=low, high=high, rounds=rounds).holds is holds


def test_the_interval_of_a_median_follows_from_the_order():
    """Of 100 values those from number 40 to 61 hold the median by a probability of 0.954: sums of binomials."""
    time = StepTime.of([number / 100 for number in range(100, 0, -1)])
    assert (time.ratio, time.low, time.high, time.rounds) == (0.505, 0.41, 0.60, 100)
    assert StepTime.of([3.0, 1.0, 2.0]) == StepTime(ratio=2, low=1, high=3, rounds=3)


def test_the_same_rule_takes_the_same_time(register):
    register("twin", lambda: Hooked(lambda model, name, g: g))
    register("other", lambda: Hooked(lambda model, name, g: g))
    timed = jobs("twin", "other", model="64-64")
    assert step_times(timed, timed["other"], CPU)["twin"].ratio == pytest.approx(1, abs=0.5)


def test_a_clock_too_coarse_for_the_steps_gives_no_ratio():
    timed = jobs("backprop", "lfp")
    assert step_times(timed, timed["backprop"], CPU, lambda: 7.0) == {}


def test_large_networks_get_fewer_rounds(register, monkeypatch):
    calls = []
    register("counted", lambda: Hooked(lambda model, name, g: calls.append(name) if name == "linear1.bias" else None))
    timed = jobs("counted")
    step_times(timed, timed["counted"], CPU)
    assert len(calls) == timing._WARM_UP + timing._ROUNDS
    calls.clear()
    monkeypatch.setattr(timing, "_PATIENCE", 0.0)
    assert step_times(timed, timed["counted"], CPU)["counted"].ratio == 1
    assert timing._WARM_UP < len(calls) < 10


def test_timing_does_not_move_the_global_random_state(register):
    register("gambler", Gambler)
    before = torch.get_rng_state()
    timed = jobs("gambler")
    step_times(timed, timed["gambler"], CPU)
    assert torch.equal(torch.get_rng_state(), before)
