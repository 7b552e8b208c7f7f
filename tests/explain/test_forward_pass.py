"""What a forward pass of LRP meets: operations without a rule, models that hide theirs, other threads."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import altprop

from .networks import assert_same_state, images, network, state_of


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.linear, self.inner = nn.Linear(4, 4), Inner(function)

    def forward(self, x):
        return self.inner(self.linear(x))


class Inner(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(self.function(z))


def angle_to_one(z):
    return torch.atan2(z, torch.ones(()))


def test_operations_without_a_rule_fall_back_to_gradient_times_input_and_warn_once():
    model, x = Calls(angle_to_one).double(), torch.randn(3, 4).double()
    lrp = altprop.LRP(model, "epsilon")
    with pytest.warns(UserWarning, match="no rule for torch.atan2: its relevance is the gradient") as told:
        layers = lrp.trace(x, target=0)
    assert len(told) == 1
    lrp.attribute(x, target=0)  # warnings are errors
    z = model.linear(x).detach().requires_grad_()
    once = model.inner.function(z)
    twice = model.inner.function(once)
    seed = torch.zeros_like(twice)
    seed[:, 0] = twice[:, 0].detach()
    (at_once,) = torch.autograd.grad(twice, once, seed / twice.detach(), retain_graph=True)
    (at_z,) = torch.autograd.grad(once, z, at_once)
    torch.testing.assert_close(layers["linear"], (at_z * z).detach(), rtol=1e-3, atol=1e-6)


def test_strict_names_the_operation_and_the_module():
    model = Calls(angle_to_one)
    with pytest.raises(RuntimeError, match=r"no rule for torch\.atan2, called in module 'inner'"):
        altprop.LRP(model, "epsilon", strict=True).attribute(torch.randn(3, 4))


def test_recurrent_layers_fall_back():
    class LastOutput(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    with pytest.warns(UserWarning, match=r"no rule for .*lstm"):
        R = altprop.LRP(LastOutput(), "epsilon").attribute(torch.randn(2, 5, 3), target=0)
    assert R.isfinite().all() and R.any()


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return 2 * z

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def test_functions_that_no_interceptor_sees_are_named():
    model, x = Calls(Doubled.apply), torch.randn(3, 4)
    with pytest.warns(UserWarning, match="LRP cannot see into Doubled, a torch.autograd.Function"):
        altprop.LRP(model, "epsilon").attribute(x)
    with pytest.raises(RuntimeError, match=r"into Doubled.*strict=True forbids"):
        altprop.LRP(model, "epsilon", strict=True).attribute(x)


def test_what_no_interceptor_sees_is_listed_and_raised_each_time():
    model, x = Calls(Doubled.apply), torch.randn(3, 4)
    lrp = altprop.LRP(model, "epsilon", strict=True)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"into Doubled.*strict=True forbids"):
            lrp.attribute(x)
    listed = altprop.inspect(model, x, lrp)
    assert [operation.name for operation in listed.unknown] == ["Doubled, a torch.autograd.Function"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_models_are_refused(reentrant):
    model = Calls(lambda z: checkpoint(torch.relu, z, use_reentrant=reentrant))
    with pytest.raises(RuntimeError, match="activation checkpointing"):
        altprop.LRP(model, "epsilon").attribute(torch.randn(3, 4))


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    "wrap, hides",
    [(torch.compile, "torch.compile"), (nn.DataParallel, "data-parallel"), (torch.jit.script, "TorchScript")],
)
@pytest.mark.parametrize("within", [False, True])
def test_wrapped_models_are_refused(wrap, hides, within):
    model = wrap(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=f"LRP cannot look into a .*{hides}.* hides the model"):
        altprop.LRP(nn.Sequential(model) if within else model)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attached", [False, True])
def test_threads_explain_one_model_at_once_as_each_would_alone(training, attached):
    model = network().train(training)
    if attached:
        altprop.FeedbackAlignment(seed=0).attach(model)
    composites = ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "attn_lrp"]
    expected = [altprop.LRP(model, name).attribute(images(), target=1) for name in composites]
    before, found = state_of(model), {}

    def explain(name):
        found[name] = [altprop.LRP(model, name).attribute(images_, target=1) for _ in range(15)]

    images_ = images()
    threads = [threading.Thread(target=explain, args=(name,)) for name in composites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, R in zip(composites, expected, strict=True):
        assert len(found[name]) == 15 and all(each.equal(R) for each in found[name])
    assert_same_state(model, before)
    assert not attached or altprop.Attachment.of(model).active
