"""LFP against the loop over its formula, and what it promises to a user's loop."""

import copy
import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import altprop
from tests.lfp_oracle import Residual, lfp

EPSILONS = [1e-6, 1e-2]


def softmax_reward(labels):
    def reward(output):
        return output * (F.one_hot(labels, output.shape[-1]) - output.softmax(-1))

    return reward


def attach_quietly(rule, model):
    """Attach without the warning about parameters that start at zero (normalisation shifts do)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return rule.attach(model)


def updates_of(model, x, labels, rule):
    with attach_quietly(rule, model):
        F.cross_entropy(model(x), labels, reduction="sum").backward()
    found = {name: -p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def assert_equals_oracle(model, x, epsilon):
    """.grad is minus the update, and g·x at the input is minus the reward there, to 1e-10 of the largest."""
    model = model.double()
    _randomise(model)
    x = x.double().requires_grad_()
    labels = torch.arange(x.shape[0]) % 3
    expected, expected_input = lfp(copy.deepcopy(model), x.detach(), softmax_reward(labels), epsilon)
    found = updates_of(model, x, labels, altprop.LFP(epsilon, strict=True))
    found["input"], expected["input"] = -x.grad * x.detach(), expected_input
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-10, atol=1e-10 * scale, msg=lambda text, name=name: f"{name}: {text}"
        )


def _randomise(model):
    """Zero shifts and unit scales would hide mistakes in normalisation layers."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_()


ACTIVATIONS = {
    name: getattr(nn, name)()
    for name in (
        "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Tanh", "Sigmoid", "LogSigmoid",
        "Softplus", "Softsign", "Tanhshrink", "Hardtanh", "Hardsigmoid", "Hardswish", "Hardshrink", "Softshrink",
    )
} | {
    "GELU-tanh": nn.GELU("tanh"),
    "Threshold": nn.Threshold(0.1, 0.3),
    "RReLU": nn.RReLU(0.2, 0.2),
    "Step": altprop.nn.Step(),
    "Sign": altprop.nn.Sign(),
}  # fmt: skip


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_equals_the_formula_with_every_activation(name, epsilon):
    torch.manual_seed(0)
    act = ACTIVATIONS[name]
    model = nn.Sequential(nn.Linear(4, 6), act, nn.Linear(6, 5), copy.deepcopy(act), nn.Linear(5, 3))
    assert_equals_oracle(model, torch.randn(3, 4), epsilon)


LAYERS = {
    "conv2d": (nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
    "conv2d-groups-dilation": (nn.Conv2d(2, 4, 2, dilation=2, groups=2, bias=False), nn.ReLU(), nn.Flatten()),
    "conv2d-circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), nn.Tanh(), nn.Flatten()),
    "conv-transpose2d": (nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), nn.ReLU(), nn.Flatten()),
    "max-pool": (nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
    "max-pool-after": (nn.Conv2d(2, 3, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten()),
    "adaptive-max-pool": (nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten()),
    "average-pool": (nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
    "average-pool-first": (nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten()),
    "adaptive-average-pool": (nn.Conv2d(2, 3, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "lp-pool": (nn.Conv2d(2, 3, 3), nn.ReLU(), nn.LPPool2d(2, 2), nn.Flatten()),
    "upsample": (nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten()),
    "batch-norm-train": (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()),
    "batch-norm-eval": (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3).eval(), nn.ReLU(), nn.Flatten()),
    "group-norm": (nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten()),
    "instance-norm": (nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.Flatten()),
    "layer-norm": (nn.Flatten(), nn.Linear(50, 6), nn.LayerNorm(6), nn.GELU()),
    "rms-norm": (nn.Flatten(), nn.Linear(50, 6), nn.RMSNorm(6), nn.GELU()),
    "residual": (
        Residual(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1)), nn.ReLU(), nn.Flatten(),
    ),
    "residual-batch-norm": (
        nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
        Residual(
            nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
            nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3),
        ),
        nn.ReLU(), nn.Flatten(),
    ),
    "pixel-shuffle": (nn.Conv2d(2, 4, 3), nn.PixelShuffle(2), nn.ReLU(), nn.ZeroPad2d(1), nn.Flatten()),
    "in-place": (nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(27, 6), nn.SiLU(inplace=True)),
}  # fmt: skip


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", LAYERS)
def test_equals_the_formula_with_every_layer(name, epsilon):
    torch.manual_seed(0)
    body = nn.Sequential(*copy.deepcopy(LAYERS[name]))
    x = torch.randn(2, 2, 5, 5)
    width = copy.deepcopy(body)(x).shape[1]
    assert_equals_oracle(nn.Sequential(*body, nn.Linear(width, 3)), x, epsilon)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 4, 3, padding=1, groups=2), (2, 2, 6)),
        (nn.Conv3d(1, 2, 2, stride=2), (2, 1, 4, 4, 4)),
        (nn.ConvTranspose1d(2, 3, 3), (2, 2, 4)),
        (nn.ConvTranspose3d(1, 2, 2), (2, 1, 2, 2, 2)),
        (nn.AdaptiveAvgPool1d(2), (2, 2, 6)),
        (nn.AvgPool3d(2), (2, 1, 4, 4, 4)),
        (nn.MaxPool1d(2), (2, 2, 6)),
        (nn.MaxPool3d(2), (2, 1, 4, 4, 4)),
        (nn.AdaptiveMaxPool3d(2), (2, 1, 4, 4, 4)),
        (nn.BatchNorm1d(2), (2, 2, 6)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_equals_the_formula_in_one_and_three_dimensions(layer, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    width = copy.deepcopy(layer)(x).flatten(1).shape[1]
    assert_equals_oracle(nn.Sequential(layer, nn.Flatten(), nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 3)), x, 1e-3)


@st.composite
def bias_free_networks(draw):
    """A random architecture without biases, for inputs of shape (n, 2, 6, 6)."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    layers, channels = [], 2
    for kind in draw(st.lists(st.sampled_from(["conv", "residual", "max", "average"]), max_size=4)):
        act = draw(st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, altprop.nn.Sign, nn.Identity]))()
        if kind == "conv":
            width = draw(st.integers(1, 4))
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), act]
            channels = width
        elif kind == "residual":
            layers += [Residual(nn.Conv2d(channels, channels, 3, padding=1, bias=False), act)]
        else:
            layers += [(nn.MaxPool2d if kind == "max" else nn.AvgPool2d)(3, stride=1, padding=1)]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(4 * channels, 3, bias=False)).double()


@given(bias_free_networks(), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_reward_is_conserved_through_bias_free_networks(model, seed):
    torch.manual_seed(seed)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    jumps_at_zero = []
    for module in model.modules():
        if isinstance(module, altprop.nn.Sign):
            module.register_forward_pre_hook(lambda _, inputs: jumps_at_zero.append(bool((inputs[0] == 0).any())))
    with altprop.LFP(epsilon=0).attach(model):
        output = model(x)
        # Sign makes a 1 of an exact zero (all of a patch behind ReLUs that are off): no input has contributed to it, so
        # that there is no one to hand its reward to.
        assume(not any(jumps_at_zero))
        g = torch.randn_like(output)
        output.backward(g)
    given_out, arrived = (g * output).sum().item(), (x.grad * x).sum().item()
    scale = (g * output).abs().sum().item()
    assert arrived == pytest.approx(given_out, rel=1e-7, abs=1e-7 * scale)


def test_equals_backprop_but_for_the_scaling_where_theory_says_so():
    """With ε = 0, a ReLU net is positively homogeneous: LFP's update is |w| times the gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3))
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    F.cross_entropy(model(x), labels, reduction="sum").backward()
    expected = {name: -p.grad * p.detach().abs() for name, p in model.named_parameters()}
    model.zero_grad()
    found = updates_of(model, x, labels, altprop.LFP(epsilon=0))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
