"""The attacks against their formulas, in plain loops, and against what is known of linear models."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop.experiment import InputError, build_model
from altprop.experiment.networks.names import Shape
from altprop.experiment.stress.attacks import ATTACKS, Ball, attacked, log_odds_against


def network_and_batch(scale=1.0):
    torch.manual_seed(3)
    model = build_model("9-7", Shape((5,), 4), activation="tanh").eval()
    for p in model.parameters():
        p.data *= scale
    return model, torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 0, 1])


def test_fgsm_is_its_formula():
    """x + ε · sign of the gradient of the cross-entropy, entry by entry."""
    model, x, y = network_and_batch()
    changed = attacked("fgsm", model, x, y, Ball(0.2))
    for n in range(len(x)):
        sample = x[n : n + 1].double().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(copy.deepcopy(model).double()(sample), y[n : n + 1]), sample)
        for k in range(x.shape[1]):
            step = 0.2 * math.copysign(1, float(gradient[0, k])) if gradient[0, k] else 0
            assert float(changed[n, k]) == pytest.approx(float(x[n, k]) + step, abs=1e-6)


def test_pgd_is_its_formula():
    """Steps of 2.5 ε / 4 along the signs, each clipped to within ε of the input and to its range."""
    model, x, y = network_and_batch()
    double, low, high, moved = copy.deepcopy(model).double(), -1.0, 1.2, x.double()
    for _ in range(4):
        moved = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(double(moved), y, reduction="sum"), moved)
        step = moved + 2.5 * 0.3 / 4 * gradient.sign()
        moved = torch.minimum(torch.maximum(step, x - 0.3), x + 0.3).clamp(low, high)
    changed = attacked("pgd", model, x, y, Ball(0.3, low, high), steps=4)
    torch.testing.assert_close(changed.double(), moved.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("radius", [0.0, 0.05, 0.4])
def test_an_attack_stays_in_its_ball_and_within_the_range(attack, radius):
    model, x, y = network_and_batch()
    low, high = float(x.min()), float(x.max())
    changed = attacked(attack, model, x, y, Ball(radius, low, high))
    assert float((changed - x).abs().max()) <= radius + 1e-6
    assert low <= float(changed.min()) <= float(changed.max()) <= high
    assert radius == 0 or not torch.equal(changed, x)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.3])
def test_a_linear_model_fails_exactly_where_theory_says(attack, epsilon):
    """Two classes: the margin (w0 - w1)·x falls by ε times the 1-norm of w0 - w1; no attack of this size does more."""
    torch.manual_seed(1)
    model, x = nn.Linear(6, 2, bias=False), torch.randn(400, 6)
    y = (torch.rand(400) < 0.3).long() ^ model(x).argmax(1)
    w = (model.weight[0] - model.weight[1]).detach()
    margin = (x @ w) * (1 - 2 * y)
    expected = margin - epsilon * w.abs().sum() > 0
    right = model(attacked(attack, model, x, y, Ball(epsilon))).argmax(1) == y
    assert torch.equal(right, expected)
    assert 0 < int(right.sum()) < 400


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_network_that_is_sure_of_itself_withstands_no_more(attack):
    """With outputs 3,000 times as large the cross-entropy's gradient is zero in float32, and its signs are the same."""
    model, x, _ = network_and_batch()
    y = model(x).argmax(1)  # all right, so that the network is sure of the truth
    sure = nn.Sequential(model, Times(3000.0))
    (gradient,) = torch.autograd.grad(F.cross_entropy(sure(leaf := x.clone().requires_grad_()), y), leaf)
    assert int((gradient == 0).sum()) > 0
    changed = attacked(attack, sure, x, y, Ball(0.5))
    assert int((changed == x).sum()) == 0
    assert float((sure(changed).argmax(1) == y).float().mean()) < 1


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_what_is_climbed_is_the_odds_of_the_other_classes():
    output, y = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 2, 0])
    p = output.softmax(1)[range(5), y]
    torch.testing.assert_close(log_odds_against(output, y), ((1 - p) / p).log())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_leaves_network_inputs_and_gradients_alone(attack):
    model, x, y = network_and_batch()
    model.linear1.weight.requires_grad_(False)
    before, given = copy.deepcopy(model.state_dict()), x.clone()
    attacked(attack, model, x, y, Ball(0.3))
    assert torch.equal(x, given)
    assert not x.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["linear1.weight"]


@torch.no_grad()
def test_pgd_does_at_least_as_much_harm_as_one_step():
    model, x, y = network_and_batch(scale=3.0)
    untouched, one_step, many = (
        float(log_odds_against(model(changed), y).mean())
        for changed in (x, *(attacked(attack, model, x, y, Ball(0.3)) for attack in ("fgsm", "pgd")))
    )
    assert many >= one_step > untouched


def test_inputs_without_a_gradient_are_an_error():
    model = build_model("gpt-tiny", Shape((4,), 9)).eval()
    with pytest.raises(InputError, match="no gradient by its inputs"):
        attacked("fgsm", model, torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), Ball(0.1))


def test_without_captum_its_extra_is_named(monkeypatch):
    monkeypatch.setattr("altprop.experiment.stress.attacks.find_spec", lambda name: None)
    model, x, y = network_and_batch()
    with pytest.raises(InputError, match=r"captum, which is not installed.*pip install .*\[explain\]"):
        attacked("fgsm", model, x, y, Ball(0.1))
