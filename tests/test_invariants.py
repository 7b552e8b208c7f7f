"""What holds for every network, tried on random small ones made of random operations."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import composites
from altprop.ops import names
from tests.every_rule import RULES
from tests.identities import IDENTITIES, Apply

WIDTH = 6


class Step(nn.Module):
    """One operation on (batch, WIDTH), with a linear layer of its own for those that mix."""

    def __init__(self, name, bias):
        super().__init__()
        self.name, self.layer = name, nn.Linear(WIDTH, WIDTH, bias=bias)

    def forward(self, x):
        return STEPS[self.name](self, x)


PIECEWISE_LINEAR = {
    "linear": lambda m, x: m.layer(x),
    "relu": lambda m, x: F.relu(m.layer(x)),
    "relu in place": lambda m, x: m.layer(x).relu_(),
    "leaky": lambda m, x: F.leaky_relu(m.layer(x), 0.3),
    "abs": lambda m, x: m.layer(x).abs(),
    "residual": lambda m, x: x + F.relu(m.layer(x)),
    "residual in place": lambda m, x: m.layer(x).add_(x),
    "difference": lambda m, x: 2 * x - m.layer(x),
    "chunks": lambda m, x: torch.cat(m.layer(x).chunk(2, 1)[::-1], 1),
    "moved": lambda m, x: m.layer(x).view(-1, 2, WIDTH // 2).transpose(1, 2).flip(1).reshape(x.shape),
    "maximum": lambda m, x: torch.maximum(m.layer(x), x),
    "pooled": lambda m, x: F.max_pool1d(m.layer(x)[:, None], 3, 1, 1)[:, 0],
    "averaged": lambda m, x: F.avg_pool1d(m.layer(x)[:, None], 3, 1, 1)[:, 0],
    "written": lambda m, x: torch.zeros_like(x).index_add_(1, torch.tensor([0, 0, 2, 3, 4, 5]), m.layer(x)),
    "matmul": lambda m, x: x @ m.layer.weight.T,
    "addmm": lambda m, x: torch.addmm(x.new_zeros(WIDTH), x, m.layer.weight.t()),
    "cumulated": lambda m, x: m.layer(x).cumsum(1),
}
CURVED = {
    "tanh": lambda m, x: torch.tanh(m.layer(x)),
    "gelu": lambda m, x: F.gelu(m.layer(x)),
    "sigmoid in place": lambda m, x: m.layer(x).sigmoid_(),
    "gate": lambda m, x: x * torch.sigmoid(m.layer(x)),
    "norm": lambda m, x: F.layer_norm(m.layer(x), (WIDTH,)),
    "softmax": lambda m, x: torch.softmax(m.layer(x), 1) @ x.new_ones(WIDTH, WIDTH) + x,
    "divided": lambda m, x: m.layer(x) / (1 + x.square()),
    "variance": lambda m, x: x + m.layer(x).var(1, keepdim=True),
}
STEPS = PIECEWISE_LINEAR | CURVED


def network(steps, *, bias, seed, identity=None, place=0):
    """The steps one after another, with a last layer; ``identity`` before the step at ``place``."""
    torch.manual_seed(seed)
    layers = [Step(name, bias) for name in steps]
    last = nn.Linear(WIDTH, 3, bias=bias)
    if identity is not None:
        layers.insert(min(place, len(layers)), Apply(IDENTITIES[identity]))
    return nn.Sequential(*layers, last).double().eval()


steps = st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=5)
straight = st.lists(st.sampled_from(list(PIECEWISE_LINEAR)), min_size=1, max_size=5)
seeds = st.integers(0, 10_000)


def quietly(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


@given(steps, seeds, st.sampled_from(list(RULES)))
@settings(max_examples=80, deadline=None)
def test_a_rule_leaves_the_values_of_the_forward_pass_as_they_are(steps, seed, rule):
    model, x = network(steps, bias=True, seed=seed), torch.randn(4, WIDTH, dtype=torch.float64)
    plain = model(x)
    y = torch.tensor([0, 1, 2, 0])

    def attached():
        with RULES[rule].attach(model), altprop.targets(y):
            with torch.no_grad():
                still = model(x)
            return still, model(x)

    still, learning = quietly(attached)
    assert torch.equal(still, plain)
    assert torch.equal(learning, plain)


@given(steps, seeds, st.sampled_from(["epsilon", "epsilon_plus", "alpha1_beta0", "attn_lrp", "guided_backprop"]))
@settings(max_examples=80, deadline=None)
def test_lrp_explains_the_value_that_the_model_computes(steps, seed, composite):
    model, x = network(steps, bias=True, seed=seed), torch.randn(4, WIDTH, dtype=torch.float64)
    seen = []
    model[-1].register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    quietly(altprop.LRP(model, composite).attribute, x, 0)
    with torch.no_grad():
        assert torch.equal(seen[0], model(x))


@given(straight, seeds)
@settings(max_examples=80, deadline=None)
def test_lfp_of_piecewise_linear_networks_is_the_gradient_times_the_weights_size(steps, seed):
    model, x = network(steps, bias=False, seed=seed), torch.randn(4, WIDTH, dtype=torch.float64)
    plain = copy.deepcopy(model)
    F.cross_entropy(plain(x), torch.tensor([0, 1, 2, 0])).backward()
    quietly(altprop.LFP(epsilon=0).attach, model)
    F.cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
    for (name, w), p in zip(model.named_parameters(), plain.parameters(), strict=True):
        expected = None if p.grad is None else p.detach().abs() * p.grad
        torch.testing.assert_close(w.grad, expected, msg=lambda told, name=name: f"{name}: {told}")


@given(straight, seeds)
@settings(max_examples=80, deadline=None)
def test_lrp_of_piecewise_linear_networks_is_input_times_gradient(steps, seed):
    model, x = network(steps, bias=False, seed=seed), torch.randn(4, WIDTH, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    expected = x * torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    relevance = altprop.LRP(model, composites.epsilon(1e-13, 1e-13), strict=True).attribute(x, 1)
    torch.testing.assert_close(relevance, expected, rtol=1e-5, atol=1e-7)


@given(steps, seeds, st.sampled_from(list(IDENTITIES)), st.integers(0, 4))
@settings(max_examples=120, deadline=None)
def test_an_identity_changes_nothing_for_lfp(steps, seed, identity, place):
    updates = []
    for form in (None, identity):
        model = network(steps, bias=True, seed=seed, identity=form, place=place)
        x = torch.randn(4, WIDTH, dtype=torch.float64)
        quietly(altprop.LFP(epsilon=0.3).attach, model)
        quietly(lambda m, x: F.cross_entropy(m(x), torch.tensor([0, 1, 2, 0])).backward(), model, x)
        updates.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(updates[1], updates[0])


@given(
    steps, seeds, st.sampled_from(list(IDENTITIES)), st.integers(0, 4),
    st.sampled_from(["epsilon", "epsilon_plus_flat", "alpha1_beta0", "attn_lrp"]),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_an_identity_changes_nothing_for_lrp(steps, seed, identity, place, composite):
    maps = []
    for form in (None, identity):
        model = network(steps, bias=True, seed=seed, identity=form, place=place)
        x = torch.randn(4, WIDTH, dtype=torch.float64)
        maps.append(quietly(altprop.LRP(model, composite).attribute, x, 0))
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-4, atol=1e-6)


def test_a_function_cannot_have_two_rules():
    def first(*args):
        return None

    def second(*args):
        return None

    with pytest.raises(ValueError, match="addmm"):
        names.resolve([(("addmm",), first), (("addmm", "mm"), second)])
