"""The time of a step, side by side, without a trace."""

import pytest
import torch

from altprop.experiment import load_data
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

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 0.001
        return self.now

    def rule_that_takes(self, seconds):
        def hook(model, name, g):
            self.now += seconds if name == "linear1.weight" else 0.0
            return g

        return lambda: Hooked(hook)


def test_a_slower_rule_takes_longer_by_what_it_adds(register, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    register("slow", clock.rule_that_takes(0.001))
    register("slower", clock.rule_that_takes(0.005))
    times = step_times(jobs("backprop", "slow", "slower"), CPU)
    assert list(times) == ["backprop", "slow", "slower"]
    assert list(times.values()) == pytest.approx([0.001, 0.002, 0.006])


def test_the_same_rule_takes_the_same_time(register):
    register("twin", lambda: Hooked(lambda model, name, g: g))
    register("other", lambda: Hooked(lambda model, name, g: g))
    times = step_times(jobs("twin", "other", model="64-64"), CPU)
    assert times["twin"] / times["other"] == pytest.approx(1, abs=0.5)


def test_large_networks_get_fewer_rounds(register, monkeypatch):
    calls = []
    register("counted", lambda: Hooked(lambda model, name, g: calls.append(name) if name == "linear1.bias" else None))
    step_times(jobs("counted"), CPU)
    assert len(calls) == timing._WARM_UP + timing._ROUNDS
    calls.clear()
    monkeypatch.setattr(timing, "_PATIENCE", 0.0)
    assert step_times(jobs("counted"), CPU)["counted"] > 0
    assert timing._WARM_UP < len(calls) < 10


def test_timing_does_not_move_the_global_random_state(register):
    register("gambler", Gambler)
    before = torch.get_rng_state()
    step_times(jobs("gambler"), CPU)
    assert torch.equal(torch.get_rng_state(), before)
