"""Rules with feedback weights give the gradients of biotorch 0.0.16, on the same weights. Run by ``make parity``."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop

THEIRS = importlib.import_module("biotorch.layers.fa_constructor")

RULES = {
    "fa": altprop.FeedbackAlignment("xavier_uniform"),
    "usf": altprop.SignSymmetric("uniform", init="xavier_uniform"),
    "brsf": altprop.SignSymmetric("batchwise", init="xavier_uniform"),
    "frsf": altprop.SignSymmetric("fixed", init="xavier_uniform"),
}


def mlp(linear, conv):
    return [linear(6, 8), nn.ReLU(), linear(8, 7, bias=False), nn.Tanh(), linear(7, 5)], (6,)


def cnn(linear, conv):
    layers = [
        conv(2, 4, 3, padding=1), nn.ReLU(), conv(4, 6, 3, stride=2, groups=2), nn.ReLU(),
        conv(6, 6, 2, dilation=2, bias=False), nn.Flatten(), linear(24, 5),
    ]  # fmt: skip
    return layers, (2, 9, 9)


def pair(net, mode):
    """The same network of biotorch's layers and of torch's."""
    torch.manual_seed(0)

    def configured(kind):
        return lambda *args, **kwargs: kind(*args, layer_config={"type": mode}, **kwargs)

    layers, shape = net(configured(THEIRS.Linear), configured(THEIRS.Conv2d))
    theirs, ours = nn.Sequential(*layers).double(), nn.Sequential(*net(nn.Linear, nn.Conv2d)[0]).double()
    for own, other in zip(ours, theirs, strict=True):
        for parameter in ("weight", "bias"):
            if getattr(own, parameter, None) is not None:
                getattr(own, parameter).data.copy_(getattr(other, parameter).data)
    return theirs, ours, torch.randn(4, *shape, dtype=torch.float64)


def share_feedback(theirs, ours, mode, monkeypatch):
    """Let biotorch's random matrices be ours, by whatever way it comes by them."""
    pairs = [(own, other) for own, other in zip(ours, theirs, strict=True) if hasattr(own, "weight")]
    if mode == "fa":
        for own, other in pairs:
            other.weight_backward.data = own.feedback_weight.clone()
    if mode == "frsf":
        for own, other in pairs:
            other.weight_backward.data = own.feedback_magnitude.clone()
    if mode == "brsf":  # drawn in each forward pass, layer after layer
        ours_drawn = [own.feedback_weight.float().double() for own, _ in pairs]  # theirs are in float32
        drawn = iter([B.abs() for B in ours_drawn])
        monkeypatch.setattr(nn.init, "xavier_uniform_", lambda tensor: tensor.set_(next(drawn).float()))
        for (own, _), B in zip(pairs, ours_drawn, strict=True):
            monkeypatch.setattr(own, "_redrawn", lambda name, draws, B=B: B)


def gradients(model, x):
    x = x.clone().requires_grad_()
    F.cross_entropy(model(x), torch.arange(4)).backward()
    return [x.grad, *(p.grad for name, p in model.named_parameters() if "backward" not in name)]


@pytest.mark.parametrize("net", [mlp, cnn])
@pytest.mark.parametrize("mode", RULES)
def test_gradients_are_biotorchs(mode, net, monkeypatch):
    theirs, ours, x = pair(net, mode)
    backprop = gradients(ours, x)
    ours.zero_grad()
    with RULES[mode].attach(ours):
        share_feedback(theirs, ours, mode, monkeypatch)
        found, expected = gradients(ours, x), gradients(theirs, x)
    assert len(found) == len(expected)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(backprop[0], found[0])
