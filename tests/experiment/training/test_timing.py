"""The time of a step, side by side, without a trace."""

import time

import pytest
import torch

from altprop.experiment import load_data
from altprop.experiment.old_training import Job
from altprop.experiment.training import timing
from altprop.experiment.training.timing import step_times
from tests.experiment.toys import Gambler, Hooked, tiny


@pytest.fixture(autouse=True)
def _rounds_enough(monkeypatch, _few_rounds_of_timing):
    monkeypatch.setattr(timing, "_ROUNDS", 30)


def jobs(*rules, **changes):
    settings = tiny(rules=rules, **changes)
    data = load_data(settings.data)
    return {rule: Job(settings, data, rule, 0, 0.1) for rule in rules}


def sleepy(seconds):
    def hook(model, name, g):
        time.sleep(seconds if name == "linear1.weight" else 0)
        return g

    return lambda: Hooked(hook)


def test_a_slower_rule_takes_longer_by_what_it_adds(register):
    register("slow", sleepy(0.001))
    register("slower", sleepy(0.005))
    times = step_times(jobs("backprop", "slow", "slower"))
    assert list(times) == ["backprop", "slow", "slower"]
    assert 0 < times["backprop"] < times["slow"] < times["slower"]
    assert times["slower"] - times["slow"] == pytest.approx(0.004, rel=0.5)


def test_the_same_rule_takes_the_same_time(register):
    register("twin", lambda: Hooked(lambda model, name, g: g))
    register("other", lambda: Hooked(lambda model, name, g: g))
    times = step_times(jobs("twin", "other", model="64-64"))
    assert times["twin"] / times["other"] == pytest.approx(1, abs=0.5)


def test_large_networks_get_fewer_rounds(register, monkeypatch):
    calls = []
    register("counted", lambda: Hooked(lambda model, name, g: calls.append(name) if name == "linear1.bias" else None))
    step_times(jobs("counted"))
    assert len(calls) == timing._WARM_UP + timing._ROUNDS
    calls.clear()
    monkeypatch.setattr(timing, "_PATIENCE", 0.0)
    assert step_times(jobs("counted"))["counted"] > 0
    assert timing._WARM_UP < len(calls) < 10


def test_timing_does_not_move_the_global_random_state(register):
    register("gambler", Gambler)
    before = torch.get_rng_state()
    step_times(jobs("gambler"))
    assert torch.equal(torch.get_rng_state(), before)
