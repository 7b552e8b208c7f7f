"""What is tracked of updates: against cosines by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from altprop.experiment import build_model
from altprop.experiment.networks.names import Shape
from altprop.experiment.training.batches import Batches
from altprop.experiment.training.fit import fit
from altprop.experiment.training.tracking import noting_layers
from tests.experiment.toys import Hooked
from tests.experiment.training.toys import toy

TRACK = {"metrics": ("bp_cosine",)}


def gradients_before_training(model, circles):
    """The gradients of a fresh network on the first batch of the first epoch, by autograd alone."""
    network = build_model(model, Shape((2,), 2), seed=0)
    x, y = circles.train.batch(Batches(1000, 250).order(0, 1)[0], 1)
    F.cross_entropy(network(x), y).backward()
    return {name: parameter.grad.double().flatten() for name, parameter in network.named_parameters()}


def cosine(factors, gradients):
    """Of updates that are gradients times a factor by parameter, with the gradients themselves."""
    squares = {name: float(gradients[name].square().sum()) for name in factors}
    dot = sum(factor * squares[name] for name, factor in factors.items())
    length = math.sqrt(sum(factor**2 * squares[name] for name, factor in factors.items()))
    return dot / (length * math.sqrt(sum(squares.values())))


def test_the_cosine_of_hidden_layers_leaves_the_output_layer_out(register, circles):
    """A rule that turns the hidden layers' updates round, and teaches the output layer as backprop does."""
    factors = {"linear1.weight": -1.0, "linear1.bias": 2.0, "linear2.weight": -0.5, "linear2.bias": -1.0}
    register("turned", lambda: Hooked(lambda model, name, g: factors.get(name, 1.0) * g))
    trained = fit(toy(rule="turned", model="4-3", track=TRACK), seed=0, splits=circles)
    gradients = gradients_before_training("4-3", circles)
    all_factors = factors | {"linear3.weight": 1.0, "linear3.bias": 1.0}
    tracked = trained.start.tracked
    assert tracked["bp_cosine_hidden"] == pytest.approx(cosine(factors, gradients), abs=1e-6)
    assert tracked["bp_cosine"] == pytest.approx(cosine(all_factors, gradients), abs=1e-6)
    assert tracked["bp_cosine_hidden"] < tracked["bp_cosine"] < tracked["bp_cosine/linear3"]
    assert tracked["bp_cosine/linear3"] == pytest.approx(1)


@pytest.mark.parametrize(("rule", "value"), [("backprop", 1.0), ("shallow", 0.0)])
def test_backprop_has_a_cosine_of_1_and_the_control_of_0(rule, value, circles):
    trained = fit(toy(rule=rule, track=TRACK), seed=0, splits=circles)
    assert [one.tracked["bp_cosine_hidden"] for one in trained.history] == pytest.approx([value, value])


@pytest.mark.parametrize("rule", ["lfp", "fa", "kp", "dfa", "local-loss:classifier=trained", "shallow"])
def test_the_output_layer_is_known_under_every_kind_of_rule(rule, circles):
    """Whatever a rule adds to a network or runs beside it, what it adds is not taken for the output layer."""
    tracked = fit(toy(rule=rule, model="4-3", track=TRACK), seed=0, splits=circles).history[-1].tracked
    own = [tracked[f"bp_cosine/linear{number}"] for number in (1, 2)]
    assert min(own) - 1e-6 <= tracked["bp_cosine_hidden"] <= max(own) + 1e-6


def test_layers_are_noted_in_the_order_in_which_they_run():
    class Twisted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body, self.unused = (torch.nn.Linear(2, 2) for _ in range(3))

        def forward(self, x):
            return self.head(self.body(x).relu())

    model = Twisted()
    with noting_layers(model) as order:
        model(torch.ones(1, 2))
    assert order == ["body", "head"]
    model(torch.ones(1, 2))
    assert order == ["body", "head"], "the hooks are gone"
