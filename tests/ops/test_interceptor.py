"""The traps of an op interceptor: overwritten values, composites, checkpointing, nesting, unknown operations."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import altprop
from altprop.ops import names
from altprop.ops.interceptor import one_operation
from altprop.ops.lfp.table import LFP_TABLE
from tests.rules.test_lfp import attach_quietly


class Run(nn.Module):
    """Two linear layers with ``between`` in between."""

    def __init__(self, between, *modules):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        self.between, self.extra = between, nn.ModuleList(modules)

    def forward(self, x):
        return self.last(self.between(self.first(x)))


def credit(model, rule=None, x=None):
    """The rule's .grad of the first layer (operations after the last one would hide nothing)."""
    torch.manual_seed(1)
    model.zero_grad()
    with attach_quietly(rule or altprop.LFP(epsilon=1e-2, strict=True), model):
        model(torch.randn(3, 4) if x is None else x).pow(2).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def add_in_place(x):
    y = torch.tanh(x)
    y += x
    return y


def scale_in_place(x):
    y = torch.tanh(x)
    y *= 2.0
    y /= 4.0
    y -= 1.0
    return y


def write_in_place(x):
    y = torch.zeros_like(x)
    y[:, :2] = x[:, 2:]
    y[:, 2:] = torch.relu(x[:, :2])
    return y


def relu_result_ignored(x):
    F.relu(x, inplace=True)
    return x


def silu_result_ignored(x):
    F.silu(x, inplace=True)
    return x


def elu_on_a_view(x):
    F.elu_(x[:, :2])
    return x


PAIRS = {
    "relu": (lambda x: F.relu(x, inplace=True), F.relu),
    "relu_": (lambda x: x.relu_(), F.relu),
    "relu-ignored": (relu_result_ignored, F.relu),
    "silu-ignored": (silu_result_ignored, F.silu),
    "leaky-relu": (lambda x: F.leaky_relu(x, 0.1, True), lambda x: F.leaky_relu(x, 0.1)),
    "tanh_": (lambda x: x.tanh_(), torch.tanh),
    "iadd": (add_in_place, lambda x: torch.tanh(x) + x),
    "scale": (scale_in_place, lambda x: torch.tanh(x) * 2.0 / 4.0 - 1.0),
    "setitem": (write_in_place, lambda x: torch.cat([x[:, 2:], torch.relu(x[:, :2])], 1)),
    "dropout": (lambda x: F.dropout(x, 0.0, True, True), lambda x: F.dropout(x, 0.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_in_place_operations_give_the_credit_of_their_out_of_place_twins(name):
    in_place, twin = PAIRS[name]
    torch.testing.assert_close(credit(Run(in_place)), credit(Run(twin)))


def test_an_activation_in_place_on_a_part_is_right_to_within_epsilon():
    """The whole still lacks its factor where the part has had it already: ε counts twice there."""
    rule = altprop.LFP(epsilon=1e-7)
    twin = Run(lambda x: torch.cat([F.elu(x[:, :2]), x[:, 2:]], 1))
    torch.testing.assert_close(credit(Run(elu_on_a_view), rule), credit(twin, rule), rtol=1e-4, atol=1e-5)


def test_the_output_may_be_overwritten_by_the_user():
    model = Run(torch.tanh)
    with altprop.LFP().attach(model):
        output = model(torch.randn(3, 4))
        output /= 2.0
        output[:, 0] = 0.0
        output.sum().backward()
    assert model.first.weight.grad.isfinite().all()


def gelu_by_hand(x):
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


class HandGELU(nn.Module):
    def forward(self, x):
        return gelu_by_hand(x)


class HandStep(nn.Module):
    """An activation that cuts the graph: no torch function of it takes part in the backward pass."""

    def forward(self, x):
        return torch.where(x > 0, 1.0, 0.0)


class LearnedSwish(nn.Module):
    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


def test_an_activation_spread_over_primitive_operations_is_one_activation_by_its_module_class():
    rule = altprop.LFP(epsilon=1e-2, activations=[HandGELU])
    module = HandGELU()
    found = credit(Run(module, module), rule)
    torch.testing.assert_close(found, credit(Run(lambda x: F.gelu(x, approximate="tanh"))), rtol=1e-4, atol=1e-6)


def test_an_activation_of_ones_own_needs_no_graph():
    module = HandStep()
    found = credit(Run(module, module), altprop.LFP(epsilon=1e-2, activations=[HandStep]))
    torch.testing.assert_close(found, credit(Run(altprop.nn.Step())))


def test_an_activation_module_may_have_parameters_of_its_own():
    module = LearnedSwish()
    found = credit(Run(module, module), altprop.LFP(epsilon=1e-2, activations=[LearnedSwish]))
    assert module.beta.grad.abs() > 0
    expected = credit(Run(F.silu))
    torch.testing.assert_close(found[: expected.numel()], expected)


def test_a_function_of_ones_own_can_be_an_activation():
    @one_operation
    def own(x):
        return torch.where(x > 0, 1.0, 0.0)

    found = credit(Run(own), altprop.LFP(epsilon=1e-2, activations=[own]))
    torch.testing.assert_close(found, credit(Run(altprop.nn.Step())))


@pytest.mark.parametrize("module", [altprop.nn.Step(), altprop.nn.Sign()])
def test_activations_without_derivative_are_compiled_as_one_operation(module):
    torch._dynamo.reset()
    model, x = Run(module), torch.randn(3, 4)
    with altprop.LFP(epsilon=1e-2).attach(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(x).sum().backward()
        expected = model.first.weight.grad.clone()
        model.zero_grad()
        torch.compile(model, fullgraph=True, backend="aot_eager")(x).sum().backward()
    torch.testing.assert_close(model.first.weight.grad, expected)


def test_module_classes_are_restored_and_survive_pickle_and_compile():
    module = HandGELU()
    model = Run(module, module)
    rule = altprop.LFP(activations=[HandGELU])
    expected = credit(model, rule)
    assert type(module) is HandGELU
    assert "_altprop_op_rule" not in vars(module)
    with rule.attach(model):
        other = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(nn.Sequential(HandGELU())))
    assert type(again[0]) is HandGELU
    assert type(other.between) is not HandGELU
    altprop.Attachment.of(other).remove()
    assert type(other.between) is HandGELU
    torch._dynamo.reset()
    with rule.attach(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        model.zero_grad()
        torch.compile(model, fullgraph=True, backend="aot_eager")(torch.randn(3, 4)).pow(2).sum().backward()
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), expected)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_is_refused(use_reentrant):
    model = Run(lambda x: checkpoint(torch.tanh, x, use_reentrant=use_reentrant))
    with (
        altprop.LFP().attach(model),
        pytest.raises(RuntimeError, match="activation checkpointing"),
    ):
        model(torch.randn(3, 4))
    model(torch.randn(3, 4)).sum().backward()  # and works again once the rule is off


def test_code_under_no_grad_is_left_alone():
    def teacher(x):
        with torch.no_grad():
            target = torch.tanh(x).mean()
        return x - target

    assert credit(Run(teacher)).isfinite().all()


def test_an_unknown_operation_warns_once_by_name_or_raises():
    model = Run(lambda x: torch.atan2(torch.tanh(x), torch.ones(())))
    x = torch.randn(3, 4)
    with altprop.LFP().attach(model):
        with pytest.warns(UserWarning, match=r"has no rule for torch\.atan2"):
            model(x)
        model(x)  # warnings are errors here: a second one would fail
    with (
        altprop.LFP(strict=True).attach(model),
        pytest.raises(RuntimeError, match=r"no rule for torch\.atan2"),
    ):
        model(x)
    model(x)


def test_recurrent_layers_fall_back_to_the_gradient_with_a_warning():
    model = nn.LSTM(4, 3)
    with altprop.LFP().attach(model), pytest.warns(UserWarning, match=r"has no rule for torch\.lstm"):
        model(torch.randn(5, 2, 4))[0].sum().backward()
    assert model.weight_ih_l0.grad is not None


def test_a_model_called_by_another_follows_its_own_rule_alone():
    inner = Run(torch.tanh)
    outer = Run(lambda x: x + inner(x).sum())  # not registered: outer does not know that inner is a model
    with altprop.LFP(epsilon=1e-2).attach(inner):
        expected = copy.deepcopy(inner)
        outer(torch.randn(3, 4)).sum().backward()
        plain_outside = inner.first.weight.grad.clone()
        inner.zero_grad()
        with altprop.LFP(epsilon=0.5).attach(outer):
            outer(torch.randn(3, 4)).sum().backward()
    assert type(expected.between) is type(inner.between)
    torch.manual_seed(0)
    assert plain_outside.shape == inner.first.weight.grad.shape


def test_the_inner_rule_wins():
    inner, outer = Run(torch.tanh), Run(lambda x: inner(x).repeat(1, 2))
    x = torch.randn(3, 4)
    z = outer.first(x)

    def inner_gradient(epsilon):
        inner.zero_grad()
        with altprop.LFP(epsilon=0.3).attach(inner), altprop.LFP(epsilon=epsilon).attach(outer):
            outer(x).sum().backward()
        return inner.first.weight.grad.clone()

    with altprop.LFP(epsilon=0.3).attach(inner):
        inner.zero_grad()
        signal = outer.last.weight.sum(0).detach()
        (inner(z.detach()).repeat(1, 2) * signal).sum().backward()
        expected = inner.first.weight.grad.clone()
    torch.testing.assert_close(inner_gradient(0.0), expected)


def test_parameters_used_twice_and_under_functional_call_are_scaled_right():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    x = torch.randn(3, 4)
    with altprop.LFP(epsilon=0).attach(model):
        model(x).sum().backward()
        leaf = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
        torch.func.functional_call(model, leaf, (x,)).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(leaf[name].grad, parameter.grad)

    first, second = copy.deepcopy(layer), copy.deepcopy(layer)
    untied = nn.Sequential(first, nn.Tanh(), second)
    untied.zero_grad()
    with altprop.LFP(epsilon=0).attach(untied):
        untied(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, first.weight.grad + second.weight.grad)


def test_a_bare_parameter_in_the_forward_pass_is_scaled():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.gain = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(4))

        def forward(self, x):
            return torch.cat([self.token.expand(x.shape[0], -1), x * self.gain], dim=1)

    model, x = Tokens(), torch.randn(3, 4)
    with altprop.LFP(epsilon=0, strict=True).attach(model):
        model(x).sum().backward()
    torch.testing.assert_close(model.token.grad, 3 * model.token.detach().abs())
    torch.testing.assert_close(model.gain.grad, x.sum(0) * model.gain.detach().abs())


EVERY_ACTIVATION = [name for name in torch.nn.modules.activation.__all__ if name != "MultiheadAttention"]


@pytest.mark.parametrize("name", EVERY_ACTIVATION)
def test_every_activation_of_torch_nn_has_a_rule(name):
    make = {"Threshold": lambda: nn.Threshold(0.1, 0.2), "Softmax2d": nn.Softmax2d}.get(name, getattr(nn, name))
    module = make(dim=-1) if name in {"Softmax", "Softmin", "LogSoftmax"} else make()
    shape = (2, 4, 4, 4) if name == "Softmax2d" else (2, 4)
    model = nn.Sequential(nn.Linear(4, 4), module)
    with altprop.LFP(strict=True).attach(model):
        model(torch.randn(shape)).pow(2).sum().backward()
    assert model[0].weight.grad.isfinite().all()


EVERY_POOL = [
    nn.MaxPool2d(2), nn.AvgPool2d(2), nn.LPPool2d(2, 2), nn.FractionalMaxPool2d(2, output_size=2),
    nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2), nn.Dropout(0.2), nn.Dropout2d(0.2), nn.AlphaDropout(0.2),
    nn.FeatureAlphaDropout(0.2), nn.LocalResponseNorm(2), nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2),
    nn.ChannelShuffle(2), nn.Unfold(2), nn.ReflectionPad2d(1), nn.Flatten(),
]  # fmt: skip


@pytest.mark.parametrize("module", EVERY_POOL, ids=lambda module: type(module).__name__)
def test_pools_dropouts_and_shape_layers_of_torch_nn_have_a_rule(module):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), module)
    with altprop.LFP(strict=True).attach(model):
        model(torch.rand(2, 1, 4, 4)).pow(2).sum().backward()
    assert model[0].weight.grad.isfinite().all()


def test_dropout_scales_the_deferred_epsilon_with_the_values():
    """The ε of a layer's factor is relative to its own output, not to the values that dropout has scaled up."""
    model = Run(lambda x: F.dropout(torch.relu(x), 0.5))
    x, epsilon = torch.randn(64, 4), 0.1
    torch.manual_seed(3)
    with altprop.LFP(epsilon).attach(model):
        model(x).sum().backward()
    torch.manual_seed(3)
    with torch.no_grad():
        z = model.first(x)
        a = F.dropout(torch.relu(z), 0.5)
        output = model.last(a)
        normed = output / (output + epsilon * torch.where(output < 0, -1, 1))
        reward = (normed @ model.last.weight) * a
        expected = model.first.weight.abs() * ((reward / (z + epsilon * torch.where(z < 0, -1, 1))).T @ x)
    torch.testing.assert_close(model.first.weight.grad, expected, rtol=1e-4, atol=1e-5)


def test_a_misspelt_name_in_a_table_is_noticed():
    with pytest.raises(AttributeError, match="no function, method or operator named 'relulu'"):
        names.resolve({"relulu": lambda: None})


def test_every_entry_of_the_table_says_what_it_does():
    assert all(rule.__doc__ for rule in set(LFP_TABLE.values()) if "in_place" not in rule.__qualname__)


def by_position(x):
    return torch.mul(torch.add(F.gelu(x), x), torch.sigmoid(x))


def by_name(x):
    return torch.mul(torch.add(input=F.gelu(input=x), other=x), other=torch.sigmoid(input=x))


def test_operands_given_by_name_are_operands():
    assert torch.equal(credit(Run(by_name)), credit(Run(by_position)))
    x = torch.randn(3, 4)
    relevance = [altprop.LRP(Run(between), "epsilon", strict=True).attribute(x) for between in (by_name, by_position)]
    assert torch.equal(*relevance)
