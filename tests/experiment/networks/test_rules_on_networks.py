"""Every rule takes a step on every kind of network that has a name."""

import warnings

import pytest
import torch

import altprop
from altprop.experiment import RULES, build_model, make_rule
from altprop.experiment.networks.names import Shape
from altprop.experiment.objectives import DEFAULT_OBJECTIVE, make_objective

CLASSIFIERS = ("resnet-20", "vgg-like", "torchvision:shufflenet_v2_x0_5", "timm:test_efficientnet")
AUTOENCODERS = ("conv-autoencoder", "autoencoder-8-4")
SIDE = 32


def task_and_batch(name):
    generator = torch.Generator().manual_seed(1)
    if name in AUTOENCODERS:
        x = torch.randn(4, 1, 6, 6, generator=generator)
        return "reconstruction", x, x.flatten(1)
    return "classification", torch.randn(4, 1, SIDE, SIDE, generator=generator), torch.arange(4) % 3


PAIRS = [
    *((name, rule) for name in CLASSIFIERS for rule in RULES),
    *((name, rule) for name in AUTOENCODERS for rule in RULES if "reconstruction" in RULES[rule].tasks),
]


@pytest.mark.parametrize(("name", "rule"), PAIRS)
def test_a_step_moves_what_the_rule_teaches_and_leaves_a_finite_network(name, rule):
    task, x, y = task_and_batch(name)
    outputs = y.shape[1] if y.dim() == 2 else 3
    model = build_model(name, Shape(tuple(x.shape[1:]), outputs))
    torch.manual_seed(0)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # DRTP's on unbounded activations, LFP's on biases of zero
        with make_rule(rule, outputs).attach(model), altprop.targets(y):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            make_objective(DEFAULT_OBJECTIVE[task], task)(model(x), y).backward()
            optimizer.step()
    weights = {key for key, p in before.items() if p.dim() > 1}
    moved = {key for key in weights if not torch.equal(before[key], model.get_parameter(key))}
    assert all(p.isfinite().all() for p in model.parameters())
    assert len(moved) == 1 if rule == "shallow" else moved == weights
