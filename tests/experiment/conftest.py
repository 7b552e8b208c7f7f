"""What tests of experiments share: a cache of their own, and rules that do one odd thing."""

import pytest

from altprop.experiment import load_data
from altprop.experiment.data.examples import Splits
from altprop.experiment.registry import RULES, RuleEntry
from altprop.experiment.training import timing


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _few_rounds_of_timing(monkeypatch):
    monkeypatch.setattr(timing, "_ROUNDS", 5)


@pytest.fixture
def register(monkeypatch):
    """Make a rule known by a name, for the length of a test."""

    def register(name, make, lr=0.1):
        monkeypatch.setitem(RULES, name, RuleEntry(make, {"sgd": lr, "adam": lr}, "For a test."))

    return register


@pytest.fixture(scope="session")
def circles():
    return Splits.of(load_data("circles"))
