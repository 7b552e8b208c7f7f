"""Direct rules come off a model from wherever attaching, a step or removal was interrupted."""

import sys

import pytest
import torch
from torch import nn

import altprop
from tests.rules.test_direct import attach_quietly
from tests.test_rule import assert_unchanged, snapshot

RULES = [
    altprop.DFA(seed=0), altprop.DRTP(seed=0), altprop.LocalLoss(classifier="trained", seed=0),
    altprop.Shallow(output="4"),
]  # fmt: skip


class Interrupt:
    """Ctrl-C at the n-th line of the direct rules that runs in the block; ``count`` says how many ran."""

    def __init__(self, n):
        self.n, self.count = n, 0

    def trace(self, frame, event, _):
        if not frame.f_globals.get("__name__", "").startswith("altprop.rules"):
            return None
        self.count += event == "line"
        if event == "line" and self.count == self.n:
            raise KeyboardInterrupt
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def step(model):
    with altprop.targets(torch.arange(5) % 3):
        model(torch.ones(5, 4)).sum().backward()
    model.zero_grad()


def interrupted(work, model, n):
    try:
        with Interrupt(n) as ran:
            work(model)
    except KeyboardInterrupt:
        pass
    return ran.count < n


def at_every_line(make, work, check):
    n, done = 1, False
    while not done:
        model = make()
        before = snapshot(network())[0]
        done = interrupted(work, model, n)
        check(model, before)
        n += 3  # every third will do
    assert n > 50


def kinds(modules):
    """Class, attributes and numbers of hooks of each module."""
    return {
        name: (cls, sorted(plain), {key: len(table) for key, table in tables.items()})
        for name, (cls, plain, tables) in modules.items()
    }


def check_off(rule):
    def check(model, before):
        for _ in range(2):
            rule._uninstall(model)
            model.__dict__.pop("_altprop_attachment", None)
            assert kinds(snapshot(model)[0]) == kinds(before)

    return check


@pytest.fixture(params=RULES, ids=repr)
def rule(request):
    return request.param


@pytest.mark.filterwarnings("ignore")
def test_installing_is_undone_from_any_line(rule):
    at_every_line(network, rule._install, check_off(rule))


@pytest.mark.filterwarnings("ignore")
def test_a_step_leaves_nothing_that_removal_does_not_take(rule):
    def attached():
        attach_quietly(rule, model := network())
        return model

    at_every_line(attached, step, check_off(rule))


@pytest.mark.filterwarnings("ignore")
def test_uninstalling_goes_on_from_any_line(rule):
    def used():
        attach_quietly(rule, model := network())
        step(model)
        return model

    at_every_line(used, rule._uninstall, check_off(rule))


def test_removal_gives_the_model_back_as_it_was(rule):
    model = network()
    before = snapshot(model)
    with attach_quietly(rule, model):
        step(model)
    assert_unchanged(before, snapshot(model))
