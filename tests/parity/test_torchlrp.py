"""altprop.LRP hands back what TorchLRP (Hvilshøj, 2020) hands back. Run by ``make parity``.

TorchLRP is no package, so that its formulas are written out here. Its explanations start from one, and end at the
layers of a chain; a ReLU hands back its gradient, a max pool to the winner. Three of its ways are left aside. Its ε
takes the sign of a zero as −1: no output here is zero. Its γ rule favours w by γ w⁺ w where the paper has γ w⁺: here
is the paper's. Its pattern rules scale what arrives at each convolution by its largest entry, which changes an
example's relevance by one factor: here there is none.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import LAYERS, Composite, composites, rules

EXACT = 1e-9


def forward(layer, x, W, b=None):
    if isinstance(layer, nn.Linear):
        return F.linear(x, W, b)
    return F.conv2d(x, W, b, layer.stride, layer.padding, layer.dilation, layer.groups)


def backward(layer, x, W, s):
    if isinstance(layer, nn.Linear):
        return s @ W
    return nn.grad.conv2d_input(x.shape, W, s, layer.stride, layer.padding, layer.dilation, layer.groups)


def stable(z, epsilon):
    return torch.where(z > 0, z + epsilon, z - epsilon)


def by_epsilon(layer, x, R, epsilon=0.1):
    s = R / stable(forward(layer, x, layer.weight, layer.bias), epsilon)
    return x * backward(layer, x, layer.weight, s)


def by_gamma(layer, x, R, gamma=0.1, epsilon=1e-10):
    W, b = (v + gamma * v.clamp(min=0) for v in (layer.weight, layer.bias))
    return x * backward(layer, x, W, R / stable(forward(layer, x, W, b), epsilon))


def by_gamma_epsilon(layer, x, R):
    return by_gamma(layer, x, R, epsilon=0.1)


def by_alpha_beta(alpha, beta):
    def relevance(layer, x, R):
        x_plus, x_minus, w_plus, w_minus = (v.clamp(**to) for v in (x, layer.weight) for to in ({"min": 0}, {"max": 0}))

        def share(to_plus, to_minus):
            z = forward(layer, to_plus, w_plus) + forward(layer, to_minus, w_minus)
            s = R / torch.where(z == 0, 1e-6, z)
            return to_plus * backward(layer, x, w_plus, s) + to_minus * backward(layer, x, w_minus, s)

        return alpha * share(x_plus, x_minus) - beta * share(x_minus, x_plus)

    return relevance


def by_pattern(patterns):
    return lambda layer, x, R: backward(layer, x, patterns[layer], R)


def by_pattern_attribution(patterns):
    return lambda layer, x, R: backward(layer, x, patterns[layer] * layer.weight, R)


@torch.no_grad()
def explain(model, x, target, rule):
    """Layer by layer down a chain, from one at the target."""
    inputs = []
    for layer in model:
        inputs.append(x)
        x = layer(x)
    R = torch.zeros_like(x)
    R[:, target] = 1.0
    for layer, a in zip(reversed(model), reversed(inputs), strict=True):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            R = rule(layer, a, R)
        else:
            with torch.enable_grad():
                leaf = a.detach().clone().requires_grad_()
                (R,) = torch.autograd.grad(layer(leaf), leaf, R)
    return R


@pytest.fixture
def model_and_input(stir):
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, 5),
    ]  # fmt: skip
    return stir(nn.Sequential(*layers)).double(), torch.randn(4, 3, 8, 8, dtype=torch.float64)


def one_at(target, model, x):
    start = torch.zeros_like(model(x)).detach()
    start[:, target] = 1.0
    return start


CASES = {
    "epsilon": (by_epsilon, rules.Epsilon(0.1)),
    "alpha1beta0": (by_alpha_beta(1.0, 0.0), rules.AlphaBeta(1.0, 0.0, epsilon=0.0, bias="ignore")),
    "alpha2beta1": (by_alpha_beta(2.0, 1.0), rules.AlphaBeta(2.0, 1.0, epsilon=0.0, bias="ignore")),
}


@pytest.mark.parametrize("name", CASES)
def test_rules_are_torchlrps(name, model_and_input, assert_agree):
    formula, rule = CASES[name]
    model, x = model_and_input
    expected = explain(model, x, 2, formula)
    assert_agree(altprop.LRP(model, rule).attribute(x, target=one_at(2, model, x)), expected, EXACT)


@pytest.mark.parametrize(("formula", "epsilon"), [(by_gamma, 1e-10), (by_gamma_epsilon, 0.1)])
def test_gamma_is_torchlrps_where_the_paper_defines_it(formula, epsilon, model_and_input, assert_agree):
    """The paper's γ is for inputs and outputs that are not negative: the last layer has ε, and a positive output."""
    model, x = model_and_input
    x = x.abs()
    with torch.no_grad():
        model[-1].bias[2] += 10
    last = model[-1]
    expected = explain(model, x, 2, lambda layer, a, R: (by_epsilon if layer is last else formula)(layer, a, R))
    own = Composite([("8", rules.Epsilon(0.1)), (LAYERS, rules.Gamma(0.1, epsilon=epsilon))])
    assert_agree(altprop.LRP(model, own).attribute(x, target=one_at(2, model, x)), expected, EXACT)


@pytest.mark.parametrize(
    ("formula", "composite"),
    [(by_pattern, composites.pattern_net), (by_pattern_attribution, composites.pattern_attribution)],
)
def test_pattern_rules_are_torchlrps(formula, composite, model_and_input, assert_agree):
    model, x = model_and_input
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    torch.manual_seed(3)
    patterns = {name: torch.randn_like(layer.weight) for name, layer in layers.items()}
    expected = explain(model, x, 2, formula({layers[name]: pattern for name, pattern in patterns.items()}))
    found = altprop.LRP(model, composite(patterns)).attribute(x, target=one_at(2, model, x))
    assert_agree(found, expected, EXACT)
