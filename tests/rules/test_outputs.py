"""Which output the error is taken of, and that hidden layers learn whichever one the loss reaches."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from tests.rules.test_direct import attach_quietly

Pair = namedtuple("Pair", ["main", "aux"])


@dataclass
class Result:
    main: Any
    aux: Any
    note: str = ""


class Heads(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.first, self.last, self.other = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.make = make
        self.double()

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return self.make(self.last(h), self.other(h), h)


def batch():
    torch.manual_seed(1)
    return torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 3


def updates(make, loss, rule=None):
    torch.manual_seed(0)
    model, (x, y) = Heads(make), batch()
    attach_quietly(rule or altprop.DFA(seed=0), model)
    with altprop.targets(y):
        loss(model(x), y).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def cross_entropy_of(key):
    return lambda out, y: F.cross_entropy(out[key] if not isinstance(key, str) else getattr(out, key), y)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


ALONE = (lambda a, b, h: a, F.cross_entropy)


@pytest.mark.parametrize(
    "make",
    [lambda a, b, h: (a, b), lambda a, b, h: [a, b], Pair, Result],
    ids=["tuple", "list", "named tuple", "dataclass"],
)
def test_the_first_of_several_is_the_network_s(make):
    if make in (Pair, Result):
        found = updates(lambda a, b, h: make(a, b), lambda out, y: F.cross_entropy(out.main, y))
    else:
        found = updates(make, cross_entropy_of(0))
    assert_same(found, updates(*ALONE))


@pytest.mark.parametrize("order", [1, -1])
def test_logits_are_the_network_s_wherever_they_stand(order):
    def make(a, b, h):
        return OrderedDict([("features", b), ("logits", a)][::order])

    assert_same(updates(make, lambda out, y: F.cross_entropy(out["logits"], y)), updates(*ALONE))


@pytest.mark.parametrize("order", [1, -1])
def test_a_dict_without_logits_is_asked_about(order):
    with pytest.raises(ValueError, match=r"cannot tell which is the network's output.*DFA\(output="):
        updates(lambda a, b, h: dict([("a", a), ("b", b)][::order]), lambda out, y: F.cross_entropy(out["b"], y))


@pytest.mark.parametrize("head", ["last", "other"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_named_output_of_a_dict_is_taught_from(order, head):
    key = {"last": "a", "other": "b"}[head]
    rule = altprop.DFA(seed=0, output=head)
    found = updates(
        lambda a, b, h: dict([("a", a), ("b", b)][::order]), lambda out, y: F.cross_entropy(out[key], y), rule
    )
    # Whichever module h enters first holds B: the same in both.
    alone = updates(lambda a, b, h: a if head == "last" else b, F.cross_entropy, rule)
    assert_same(found, alone)
    assert found["first.weight"].any()


def test_a_loss_on_another_output_alone_is_refused():
    with pytest.raises(RuntimeError, match=r"reaches the output '1'.* but not '0'.*DFA\(output="):
        updates(lambda a, b, h: (a, b), cross_entropy_of(1))


def test_a_loss_on_another_output_too_is_told_once():
    torch.manual_seed(0)
    model, (x, y) = Heads(lambda a, b, h: (a, b)), batch()
    altprop.DFA(seed=0).attach(model)
    with pytest.warns(UserWarning, match="reaches the output '1' of the model too") as told:
        for _ in range(2):
            a, b = model(x)
            (F.cross_entropy(a, y) + F.cross_entropy(b, y)).backward()
    assert len(told) == 1


def test_one_tensor_under_two_names_is_one_output():
    found = updates(lambda a, b, h: {"out": a, "scores": a}, lambda out, y: F.cross_entropy(out["scores"], y))
    assert_same(found, updates(*ALONE))


def test_a_loss_on_a_hidden_layer_that_is_returned_teaches_it():
    """h is taught by B e and, as by backprop, by the loss that it is given to."""
    found = updates(lambda a, b, h: (a, h), lambda out, y: F.cross_entropy(out[0], y) + out[1].square().mean())
    expected = updates(*ALONE)
    torch.manual_seed(0)
    model = Heads(None)
    torch.tanh(model.first(batch()[0])).square().mean().backward()
    for name in ("first.weight", "first.bias"):
        expected[name] = expected[name] + model.get_parameter(name).grad
    assert_same(found, expected)


@pytest.mark.parametrize(
    "rule", [altprop.DRTP(seed=0), altprop.LocalLoss(seed=0), altprop.LocalLoss(seed=0, classifier="trained")], ids=repr
)
@pytest.mark.parametrize("key", ["a", "b"])
def test_targets_teach_whichever_output_the_loss_reaches(rule, key):
    found = updates(lambda a, b, h: {"a": a, "b": b}, lambda out, y: F.cross_entropy(out[key], y), rule)
    alone = updates(lambda a, b, h: a if key == "a" else b, F.cross_entropy, rule)
    assert_same(found, alone)
    assert found["first.weight"].any()


def test_shallow_trains_the_head_that_the_loss_reaches():
    found = updates(lambda a, b, h: (a, b), cross_entropy_of(1), altprop.Shallow())
    assert found.keys() == {"other.weight", "other.bias"}


def test_outputs_without_a_gradient_stay_without():
    torch.manual_seed(0)
    model, (x, _) = Heads(lambda a, b, h: (a, a.argmax(1), b.detach())), batch()
    altprop.DFA(seed=0).attach(model)
    output, classes, constant = model(x)
    assert output.requires_grad and not classes.requires_grad and not constant.requires_grad


def test_a_frozen_last_layer_still_has_its_error_projected():
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double(), batch()
    model[2].requires_grad_(False)
    altprop.DFA(seed=0).attach(model)
    F.cross_entropy(model(x), y).backward()
    assert model[0].weight.grad.any()


@pytest.mark.parametrize("rule", [altprop.DFA, altprop.DRTP, altprop.LocalLoss])
def test_a_loss_that_does_not_depend_on_the_named_output_is_told_once(rule):
    torch.manual_seed(0)
    model, (x, y) = Heads(lambda a, b, h: {"a": a, "b": b}), batch()
    attach_quietly(rule(seed=0, output="last"), model)
    with pytest.warns(UserWarning, match="does not depend on the output of 'last'") as told:
        for _ in range(2):
            with altprop.targets(y):
                F.cross_entropy(model(x)["b"], y).backward()
    assert len(told) == 1
    model.zero_grad()
    with altprop.targets(y):
        for key in ("a", "b"):
            F.cross_entropy(model(x)[key], y).backward()
    assert model.first.weight.grad.any()
