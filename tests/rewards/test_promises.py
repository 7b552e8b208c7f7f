"""What rewards promise to a user of losses."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from altprop import rewards
from tests.rewards.oracles import (
    ORACLES,
    divided,
    gradient_of,
    logits_and_labels,
    sigmoid,
)

ALL = {name: make for name, (make, _) in ORACLES.items()} | {
    "binary-sigmoid": rewards.BinarySigmoid,
    "regression": rewards.Regression,
    "feedback": rewards.Reward,
}
PER_OUTPUT = {"binary-sigmoid", "regression", "feedback"}


def output_and_target(name, *shape):
    output, labels = logits_and_labels(*shape)
    return output, (torch.rand(shape, dtype=torch.float64) if name in PER_OUTPUT else labels)


@pytest.mark.parametrize("name", ALL)
def test_reductions_agree_with_each_other(name):
    output, target = output_and_target(name, 3, 4, 2)
    each = ALL[name](reduction="none")(output, target)
    assert each.shape == ((3,) if name in PER_OUTPUT else (3, 2))
    total = ALL[name](reduction="sum")(output, target)
    mean = ALL[name](reduction="mean")(output, target)
    torch.testing.assert_close(each.sum(), total)
    torch.testing.assert_close(each.mean(), mean)
    g = gradient_of(total, output)
    torch.testing.assert_close(gradient_of(mean, output), g / each.numel())
    torch.testing.assert_close(gradient_of(each.sum(), output), g)


@pytest.mark.parametrize("name", ALL)
def test_each_value_credits_its_own_sample(name):
    output, target = output_and_target(name, 3, 4)
    each = ALL[name](reduction="none")(output, target)
    g = gradient_of(each[1], output)
    assert not g[[0, 2]].any()
    whole = gradient_of(ALL[name](reduction="sum")(output, target), output)
    assert torch.equal(g[1], whole[1])


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), factor=st.floats(-100, 100))
def test_the_gradient_is_linear_in_what_comes_back(name, seed, factor):
    torch.manual_seed(seed)
    output, target = output_and_target(name, 3, 4)
    value = ALL[name]()(output, target)
    (g,) = torch.autograd.grad(value, output, retain_graph=True)
    (scaled,) = torch.autograd.grad(value, output, torch.tensor(factor, dtype=torch.float64))
    torch.testing.assert_close(scaled, factor * g)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 5), classes=st.integers(3, 6))
def test_credit_times_output_is_the_reward_given(name, seed, rows, classes):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    output = (output.sign() * (output.abs() + 0.1)).requires_grad_()  # away from zero, where ε does not count
    target = torch.randint(2, output.shape if name in PER_OUTPUT else (rows,), generator=generator)
    target = target.double() if name in PER_OUTPUT else target
    R = ALL[name]().reward(output.detach(), target)
    g = gradient_of(ALL[name]()(output, target), output)
    torch.testing.assert_close(g * output.detach(), -R / rows, rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ALL if name != "feedback"])
def test_a_step_along_the_gradient_does_what_the_reward_asks(name):
    """Where R > 0 the output moves away from zero, where R < 0 towards it."""
    output, target = output_and_target(name, 4, 4)
    R = ALL[name]().reward(output.detach(), target)
    g = gradient_of(ALL[name]()(output, target), output)
    assert torch.equal((-g * output.detach()).sign(), R.sign())


def test_human_feedback_moves_outputs_as_asked():
    torch.manual_seed(0)
    output = torch.randn(4, 3, requires_grad=True)
    opinion = torch.randint(-1, 2, (4, 3))
    g = gradient_of(rewards.Reward()(output, opinion * output.sign()), output)
    assert torch.equal(-g.sign(), opinion.float())
    torch.testing.assert_close(g, -opinion / output.abs() / 4, rtol=1e-4, atol=0)


def test_integer_rewards_are_taken():
    output = torch.tensor([[2.0, -4.0]], requires_grad=True)
    g = gradient_of(rewards.Reward()(output, torch.tensor([[1, -1]])), output)
    torch.testing.assert_close(g, torch.tensor([[-0.5, -0.25]]))


class EvenCount(rewards.Reward):
    """A reward with no derivative, in numpy, that counts its calls and wants no tensor for a target."""

    calls = 0

    def reward(self, output, target):
        type(self).calls += 1
        assert target == ["not a tensor"]
        return torch.from_numpy(np.where(np.rint(output.numpy()) % 2 == 0, 1.0, -0.5))


def test_a_user_subclass_in_numpy_is_asked_once_per_forward():
    output = torch.tensor([[2.2, 3.1], [-0.9, -4.0]], requires_grad=True)
    before = EvenCount.calls
    value = EvenCount()(output, ["not a tensor"])
    assert EvenCount.calls == before + 1
    R = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    torch.testing.assert_close(value, -R.sum() / 2)
    torch.testing.assert_close(gradient_of(value, output), -divided(R, output.detach()) / 2)


class Positions(rewards.Reward):
    sample = "position"

    def reward(self, output, target):
        return target


def test_a_user_subclass_says_what_a_sample_is():
    output, target = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert Positions(reduction="none")(output, target).shape == (2, 4)
    assert rewards.Reward(reduction="none")(output, target).shape == (2,)
    torch.testing.assert_close(Positions()(output, target), -target.sum() / 8)
    torch.testing.assert_close(rewards.Reward()(output, target), -target.sum() / 2)


def test_epsilon_is_the_users():
    output = torch.tensor([[0.0, 1.0, -1.0]], requires_grad=True)
    g = gradient_of(rewards.Reward(epsilon=0.5)(output, torch.ones(1, 3)), output)
    torch.testing.assert_close(g, torch.tensor([[-2.0, -1 / 1.5, 1 / 1.5]]))


def test_a_single_number_can_be_maximised():
    output = torch.tensor(0.5, requires_grad=True)
    value = rewards.MaximizeNeuron()(output)
    assert value.item() == pytest.approx(-(1 - sigmoid(0.5)))
    assert gradient_of(value, output).item() < 0
    assert rewards.MaximizeNeuron(reduction="none")(output).shape == ()
    assert rewards.Regression(reduction="none")(output, torch.tensor(1.0)).shape == ()


@pytest.mark.parametrize("neuron", [None, 1])
def test_the_target_of_neuron_rewards_is_ignored(neuron):
    output = torch.randn(3, 2)
    for make in (rewards.MaximizeNeuron, rewards.MinimizeNeuron):
        values = [make(neuron)(output), make(neuron)(output, None), make(neuron)(output, torch.tensor([7, 8]))]
        assert values[0] == values[1] == values[2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_every_float_dtype_gets_its_gradient_in_kind(name, dtype):
    output, target = output_and_target(name, 3, 4)
    low = output.detach().to(dtype).requires_grad_()
    value = ALL[name]()(low, target)
    assert value.dtype == torch.promote_types(dtype, torch.float32)
    g = gradient_of(value, low)
    assert g.dtype == dtype
    exact = low.detach().double().requires_grad_()
    expected = gradient_of(ALL[name]()(exact, target), exact)
    torch.testing.assert_close(g.double(), expected, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_trains_under_autocast(name):
    torch.manual_seed(0)
    model = nn.Linear(5, 4)
    _, target = output_and_target(name, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(torch.randn(3, 5))
        value = ALL[name]()(output, target)
    assert output.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    value.backward()
    assert model.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("name", ALL)
def test_compiles_without_a_graph_break(name):
    torch.compiler.reset()
    output, target = output_and_target(name, 3, 4)
    reward = ALL[name]()
    value = reward(output, target)
    compiled = torch.compile(reward, backend="aot_eager", fullgraph=True)(output, target)
    torch.testing.assert_close(compiled, value)
    torch.testing.assert_close(gradient_of(compiled, output), gradient_of(value, output))


@pytest.mark.parametrize("name", ALL)
def test_copies_and_pickles(name):
    output, target = output_and_target(name, 3, 4)
    reward = ALL[name](reduction="none", epsilon=0.1)
    for other in (copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))):
        assert repr(other) == repr(reward)
        assert torch.equal(other(output, target), reward(output, target))


@pytest.mark.parametrize("name", ALL)
def test_needs_no_gradient_for_its_value(name):
    output, target = output_and_target(name, 3, 4)
    with torch.no_grad():
        value = ALL[name]()(output, target)
    assert not value.requires_grad
    assert torch.equal(value, ALL[name]()(output, target))


@pytest.mark.parametrize("name", ALL)
def test_leaves_output_and_target_alone(name):
    output, target = output_and_target(name, 3, 4)
    before = output.detach().clone(), target.clone()
    ALL[name]()(output, target).backward()
    assert torch.equal(output, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("name", ALL)
def test_does_not_wait_for_the_device(name):
    output, target = output_and_target(name, 3, 4)
    on_device, target_there = output.detach().cuda().requires_grad_(), target.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        g = gradient_of(ALL[name]()(on_device, target_there), on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(g.cpu(), gradient_of(ALL[name]()(output, target), output))


def test_an_empty_batch_has_no_value_and_no_gradient():
    output = torch.zeros(0, 3, requires_grad=True)
    value = rewards.Softmax(reduction="sum")(output, torch.zeros(0, dtype=torch.int64))
    assert value.item() == 0
    assert gradient_of(value, output).shape == (0, 3)


def test_a_network_learns_to_be_right():
    torch.manual_seed(0)
    x, labels = torch.randn(64, 2), torch.arange(64) % 2
    x += 3 * labels[:, None]
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        rewards.BoundedSoftmax(0.01, 0.99, sign_only=True)(model(x), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert (model(x).argmax(1) == labels).float().mean() > 0.8
