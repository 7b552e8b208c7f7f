"""Rewards against loops over their formulas, and against the losses whose gradient they have."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop import rewards
from tests.rewards.oracles import ORACLES, divided, gradient_of, logits_and_labels, loop


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 2), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("name", ORACLES)
def test_equals_the_loop_over_its_formula(name, shape):
    make, oracle = ORACLES[name]
    output, labels = logits_and_labels(*shape)
    R = loop(oracle, output.detach(), labels)
    n = labels.numel()
    value = make()(output, labels)
    torch.testing.assert_close(make().reward(output.detach(), labels), R, rtol=1e-12, atol=0)
    torch.testing.assert_close(value, -R.sum() / n, rtol=1e-12, atol=1e-15)
    tolerance = 1e-4 if isinstance(make(), rewards.ProportionalReward | rewards.BoundedSoftmax) else 1e-12
    torch.testing.assert_close(gradient_of(value, output), -divided(R, output.detach()) / n, rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ORACLES)
def test_a_proportional_reward_is_not_divided_by_its_output(name):
    make, _ = ORACLES[name]
    output, labels = logits_and_labels(5, 4)
    tiny = (output.detach() * 1e-12).requires_grad_()
    g = gradient_of(make()(tiny, labels), tiny)
    if isinstance(make(), rewards.ProportionalReward):
        assert g.abs().max() < 1
    assert g.isfinite().all()


@pytest.mark.parametrize("name", ORACLES)
def test_an_output_of_zero_gets_a_finite_gradient(name):
    make, _ = ORACLES[name]
    output = torch.zeros(2, 4, requires_grad=True)
    assert gradient_of(make()(output, torch.tensor([0, 3])), output).abs().max() <= 1


def test_ties_and_signs_of_correct_classification():
    output = torch.tensor([[1.0, 1.0], [-1.0, -2.0], [0.0, -1.0], [1.0, 2.0]])
    R = rewards.CorrectClassification().reward(output, torch.tensor([1, 0, 0, 0]))
    assert R.tolist() == [[0, 1], [-1, 0], [0, 0], [0, 0]]


def test_ties_and_signs_of_misclassification():
    output = torch.tensor([[1.0, 1.0], [-1.0, -2.0], [3.0, 2.0]])
    R = rewards.Misclassification().reward(output, torch.tensor([1, 1, 0]))
    assert R.tolist() == [[0, 0], [1, 0], [0, 0]]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 2), (2, 3, 2, 2)], ids=str)
def test_softmax_has_the_gradient_of_cross_entropy(shape, reduction):
    output, labels = logits_and_labels(*shape)
    probabilities = torch.rand(shape, dtype=torch.float64).softmax(1)
    for target in (labels, labels.to(torch.uint8), probabilities):
        loss_target = target.long() if target.dtype == torch.uint8 else target
        torch.testing.assert_close(
            gradient_of(rewards.Softmax(reduction=reduction)(output, target), output),
            gradient_of(F.cross_entropy(output, loss_target, reduction=reduction), output),
            rtol=1e-12,
            atol=1e-16,
        )


def test_unbounded_softmax_is_softmax():
    output, labels = logits_and_labels(5, 4)
    bounded_value, value = rewards.BoundedSoftmax()(output, labels), rewards.Softmax()(output, labels)
    assert torch.equal(bounded_value, value)
    assert torch.equal(gradient_of(bounded_value, output), gradient_of(value, output))


def test_one_sample_without_a_batch_works_as_in_cross_entropy():
    output, label = torch.randn(5, requires_grad=True), torch.tensor(3)
    value = rewards.Softmax()(output, label)
    torch.testing.assert_close(gradient_of(value, output), gradient_of(F.cross_entropy(output, label), output))
    assert rewards.Softmax(reduction="none")(output, label).shape == ()
    batched = rewards.Softmax()(output[None], label[None])
    assert torch.equal(batched, value)


@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 2)], ids=str)
def test_sigmoid_has_the_gradient_of_binary_cross_entropy(shape):
    output, labels = logits_and_labels(*shape)
    hot = F.one_hot(labels, shape[1]).movedim(-1, 1).double()
    expected = gradient_of(F.binary_cross_entropy_with_logits(output, hot, reduction="sum") / labels.numel(), output)
    for target in (labels, hot):
        torch.testing.assert_close(gradient_of(rewards.Sigmoid()(output, target), output), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shapes", [((5,), (5,)), ((5, 1), (5, 1)), ((5, 1), (5,)), ((5, 3), (5, 3))], ids=str)
def test_binary_sigmoid_has_the_gradient_of_binary_cross_entropy(shapes, dtype):
    output = torch.randn(shapes[0], dtype=torch.float64, requires_grad=True)
    target = torch.randint(2, shapes[1]).to(dtype)
    loss = F.binary_cross_entropy_with_logits(output, target.double().view_as(output), reduction="sum") / 5
    value = rewards.BinarySigmoid()(output, target)
    torch.testing.assert_close(gradient_of(value, output), gradient_of(loss, output))
    R = output * (target.double().view_as(output) - output.sigmoid())
    torch.testing.assert_close(value, -R.sum() / 5)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 3, 2)], ids=str)
def test_regression_is_half_the_squared_error(shape):
    output = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    target = torch.randn(shape, dtype=torch.float64)
    loss = 0.5 * F.mse_loss(output, target, reduction="sum") / 5
    value = rewards.Regression()(output, target)
    torch.testing.assert_close(value, loss)
    torch.testing.assert_close(gradient_of(value, output), gradient_of(loss, output))
    R = rewards.Regression().reward(output.detach(), target)
    torch.testing.assert_close(R, output.detach() * (target - output.detach()))


def test_the_registries_name_every_reward_that_follows_from_a_target():
    named = rewards.REWARDS | rewards.SPIKE_REWARDS
    kinds = {value for value in vars(rewards).values() if isinstance(value, type) and issubclass(value, nn.Module)}
    assert set(named.values()) == kinds - {rewards.Reward, rewards.ProportionalReward, rewards.SpikeReward}
    for name, kind in named.items():
        kebab = "".join(f"-{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("-")
        assert name == kebab
        assert isinstance(kind(), rewards.Reward)
