"""Local losses: what the targets are, and what a model must tell of its layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batch():
    torch.manual_seed(1)
    return torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 3


def updates(rule, targets, scale=1.0):
    model, (x, y) = mlp(), batch()
    rule.attach(model)
    with altprop.targets(targets, scale=scale):
        F.cross_entropy(model(x), y).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def mixed(y, weight):
    """As mixup makes them: two classes for each sample."""
    return weight * F.one_hot(y, 3).double() + (1 - weight) * F.one_hot(y.flip(0), 3).double()


@pytest.mark.parametrize("make", [lambda y: F.one_hot(y, 3).double(), lambda y: mixed(y, 0.3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_class_probabilities_are_asked_about(make, dtype):
    with pytest.raises(ValueError, match=r"look like class probabilities.*loss='cross_entropy'"):
        updates(altprop.LocalLoss(seed=0), make(batch()[1]).to(dtype))


@pytest.mark.parametrize("classifier", ["fixed", "trained"])
def test_one_hot_rows_are_the_classes(classifier):
    rule = altprop.LocalLoss(seed=0, loss="cross_entropy", classifier=classifier)
    y = batch()[1]
    found, expected = updates(rule, F.one_hot(y, 3).double()), updates(rule, y)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)


def test_mixed_classes_teach_by_the_mean_of_both():
    """The cross-entropy is linear in the target."""
    rule, y = altprop.LocalLoss(seed=0, loss="cross_entropy"), batch()[1]
    found, one, other = updates(rule, mixed(y, 0.3)), updates(rule, y), updates(rule, y.flip(0))
    for name in ("0.weight", "2.bias"):
        torch.testing.assert_close(found[name], 0.3 * one[name] + 0.7 * other[name], rtol=1e-10, atol=1e-12)


def test_probabilities_as_values_are_for_who_says_so():
    rule, targets = altprop.LocalLoss(seed=0, loss="mse"), mixed(batch()[1], 0.3)
    model, (x, _) = mlp(), batch()
    found = updates(rule, targets)
    rule.attach(model)
    P = model[2].local_classifier
    altprop.Attachment.of(model).remove()
    F.mse_loss(torch.tanh(model[0](x)) @ P.t(), targets).backward()
    torch.testing.assert_close(found["0.weight"], model[0].weight.grad, rtol=1e-10, atol=1e-12)


def test_values_are_looked_at_once(monkeypatch):
    model, (x, _) = mlp(), batch()
    altprop.LocalLoss(seed=0).attach(model)
    values = torch.randn(16, 3, dtype=torch.float64)
    with altprop.targets(values):
        model(x)
    looked = []
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: looked.append(tensor) or False)
    with altprop.targets(values):
        model(x)
    assert not looked


@pytest.mark.parametrize("shape", [(16,), (16, 1)])
def test_one_value_for_each_sample(shape):
    model, (x, _) = mlp(), batch()
    altprop.LocalLoss(seed=0, outputs=1).attach(model)
    values = torch.randn(16, dtype=torch.float64)
    with altprop.targets(values.view(shape)):
        model(x).sum().backward()
    P = model[2].local_classifier
    h = torch.tanh(F.linear(x, w := model[0].weight.detach().requires_grad_(), model[0].bias.detach()))
    F.mse_loss((h @ P.t()).flatten(), values).backward()
    torch.testing.assert_close(model[0].weight.grad, w.grad)


def test_probabilities_of_each_position():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, y = torch.randn(2, 5, 6, dtype=torch.float64), torch.randint(3, (2, 5))
    found = []
    for targets in (y, F.one_hot(y, 3).double()):
        model.zero_grad()
        with altprop.LocalLoss(seed=0, loss="cross_entropy").attach(model), altprop.targets(targets):
            model(x).sum().backward()
        found.append(model[0].weight.grad)
    torch.testing.assert_close(*found)


def test_drtp_says_what_to_do_with_probabilities():
    with pytest.raises(ValueError, match=r"class probabilities .*y\.argmax\(1\)"):
        updates(altprop.DRTP(seed=0), F.one_hot(batch()[1], 3).double())


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.randn(2, 8))

    def forward(self, x):
        return x[:, :2] @ self.t


def test_an_attach_that_is_refused_half_way_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), Table(), nn.Linear(8, 3))
    before = set(model.state_dict())
    with pytest.raises(ValueError, match="does not know how many features"):
        altprop.LocalLoss(seed=0).attach(model)
    altprop.LocalLoss()._uninstall(model)  # what attach does, if it does not yet
    assert set(model.state_dict()) == before


def test_a_block_without_parameters_has_a_classifier_too():
    model = nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.Tanh()), nn.Linear(8, 3))
    with pytest.raises(ValueError, match="does not know how many features enter '1'"):
        altprop.LocalLoss(blocks=["1", "2"]).attach(model)


def test_lazy_layers_are_to_be_run_first():
    with pytest.raises(ValueError, match="Call the model on one batch before attaching"):
        altprop.LocalLoss().attach(nn.Sequential(nn.Linear(6, 8), nn.LazyLinear(3)))
