"""altprop.LRP takes captum's place: the same call, the same relevance, the same delta. Run by ``make parity``.

captum 0.9 gives each layer a rule of its own, on ``module.rule``, and stabilises as ``z + ε·sign z`` as we do. Its
gamma and alpha1-beta0 rules change the weights for the whole forward pass, with the activations of the model as they
were: for inputs that are not negative that is the papers' rule.
"""

import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule
from torch import nn

import altprop
from altprop.explain import composites, rules

TINY = 1e-9  # the ε of captum's rule where none is given: of pools, too


def mlp():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 5)), (12,)


def cnn():
    layers = [
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 5),
    ]  # fmt: skip
    return nn.Sequential(*layers), (3, 12, 12)


NETWORKS = {"mlp": mlp, "cnn": cnn}


def network(name, stir):
    torch.manual_seed(0)
    model, shape = NETWORKS[name]()
    return stir(model).double().eval(), torch.randn(4, *shape, dtype=torch.float64)


def captums(model, x, rule, target, **options):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.rule = rule()
        elif isinstance(module, nn.Flatten | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            module.rule = EpsilonRule(TINY)
    return LRP(model).attribute(x.clone().requires_grad_(), target=target, **options)


@pytest.mark.parametrize("target", [2, torch.tensor([0, 4, 1, 1])], ids=["one", "each"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("epsilon", [TINY, 0.25])
def test_epsilon_is_captums(name, epsilon, target, stir, assert_agree):
    model, x = network(name, stir)
    found = altprop.LRP(model, composites.epsilon(epsilon, stabiliser=TINY)).attribute(x, target=target)
    assert_agree(found, captums(model, x, lambda: EpsilonRule(epsilon), target))


@pytest.mark.parametrize("name", NETWORKS)
def test_delta_is_captums(name, stir, assert_agree):
    model, x = network(name, stir)
    found, delta = altprop.LRP(model, composites.epsilon(0.25, stabiliser=TINY)).attribute(
        x, target=2, return_convergence_delta=True
    )
    expected, their_delta = captums(model, x, lambda: EpsilonRule(0.25), 2, return_convergence_delta=True)
    assert_agree(found, expected)
    assert_agree(delta, their_delta)


@pytest.mark.parametrize("no_bias", [False, True], ids=["bias", "no-bias"])
def test_gamma_is_captums(no_bias, stir, assert_agree):
    """On an input that is not negative. captum leaves biases out of γ: they are ignored, or zero."""
    model, x = positive(stir, zero_biases=not no_bias)
    own = rules.Gamma(0.25, epsilon=TINY, bias="ignore" if no_bias else "absorb")
    found = altprop.LRP(model, own).attribute(x, target=2)
    assert_agree(found, captums(model, x, lambda: GammaRule(0.25, set_bias_to_zero=no_bias), 2))


@pytest.mark.parametrize("no_bias", [False, True], ids=["bias", "no-bias"])
def test_alpha1_beta0_is_captums(no_bias, stir, assert_agree):
    """On an input that is not negative, with biases that are not negative: captum adds them to z⁺ as they are."""
    model, x = positive(stir)
    with torch.no_grad():
        for module in model:
            if hasattr(module, "bias"):
                module.bias.abs_()
    own = rules.AlphaBeta(1.0, 0.0, epsilon=TINY, bias="ignore" if no_bias else "absorb")
    found = altprop.LRP(model, own).attribute(x, target=2)
    assert_agree(found, captums(model, x, lambda: Alpha1_Beta0_Rule(set_bias_to_zero=no_bias), 2))


def positive(stir, zero_biases=False):
    """A chain of layers and ReLUs, and an input without negative entries: what captum's γ and α1β0 rules are for."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, stride=2, groups=1), nn.ReLU()]
    model = stir(nn.Sequential(*layers)).double()
    if zero_biases:
        for layer in (model[0], model[2]):
            nn.init.zeros_(layer.bias)
    model = nn.Sequential(*model, nn.Flatten(), stir(nn.Linear(5 * 4 * 4, 5, bias=not zero_biases)).double())
    return model, torch.rand(4, 3, 9, 9, dtype=torch.float64)


def test_identity_is_captums_for_batch_norm(stir, assert_agree):
    """Relevance passes through a batch norm that is not folded, if a rule says so."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5))
    model = stir(model).double().eval()
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    pairs = [(nn.BatchNorm2d, rules.Pass()), ((nn.Conv2d, nn.Linear), rules.Epsilon(TINY))]
    found = altprop.LRP(model, pairs).attribute(x, target=1)
    model[1].rule = IdentityRule()
    assert_agree(found, captums(model, x, EpsilonRule, 1))


def test_the_call_is_captums(stir, assert_agree):
    """Tuples of inputs, further arguments and defaults are given in the same words."""

    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(12, 5)
            self.act = nn.Tanh()

        def forward(self, a, b, swap):
            parts = [self.left(a), self.right(b)]
            return self.head(self.act(torch.cat(parts[::-1] if swap else parts, 1)))

    torch.manual_seed(0)
    model = stir(TwoInputs()).double()
    a, b = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    call = {"target": 3, "additional_forward_args": True, "return_convergence_delta": True}
    (found, delta) = altprop.LRP(model, rules.Epsilon(TINY)).attribute((a, b), **call)
    (expected, their_delta) = LRP(model).attribute((a.clone().requires_grad_(), b.clone().requires_grad_()), **call)
    assert isinstance(found, tuple)
    for own, other in zip(found, expected, strict=True):
        assert_agree(own, other)
    assert_agree(delta, their_delta)
