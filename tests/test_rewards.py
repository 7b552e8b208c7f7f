"""Rewards against loops over their formulas, and what they promise to a user of losses."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from altprop import rewards

EPSILON = 1e-6


def sign(o):
    return (o > 0) - (o < 0)


def sigmoid(o):
    return 1 / (1 + math.exp(-o))


def softmax(o):
    return [math.exp(value) / sum(math.exp(other) for other in o) for value in o]


def onehot(label, o):
    return [float(k == label) for k in range(len(o))]


def bounded(p, lower, upper):
    return 1.0 if p > upper else 0.0 if p < lower else p


# Each oracle takes the outputs of one sample, as a list, and its target, and gives the list of rewards.
ORACLES = {
    "softmax": (
        rewards.Softmax,
        lambda o, y: [a * (b - p) for a, b, p in zip(o, onehot(y, o), softmax(o), strict=True)],
    ),
    "sigmoid": (
        rewards.Sigmoid,
        lambda o, y: [a * (b - sigmoid(a)) for a, b in zip(o, onehot(y, o), strict=True)],
    ),
    "bounded-softmax": (
        lambda **kw: rewards.BoundedSoftmax(0.2, 0.6, **kw),
        lambda o, y: [a * (b - bounded(p, 0.2, 0.6)) for a, b, p in zip(o, onehot(y, o), softmax(o), strict=True)],
    ),
    "bounded-softmax-sign": (
        lambda **kw: rewards.BoundedSoftmax(0.2, 0.6, True, **kw),
        lambda o, y: [
            sign(a) * (b - bounded(p, 0.2, 0.6)) for a, b, p in zip(o, onehot(y, o), softmax(o), strict=True)
        ],
    ),
    "correct-classification": (
        rewards.CorrectClassification,
        lambda o, y: [sign(a) if k == y and a == max(o) else 0 for k, a in enumerate(o)],
    ),
    "misclassification": (
        rewards.Misclassification,
        lambda o, y: [-sign(a) if a > o[y] else 0 for a in o],
    ),
    "maximize-neuron": (rewards.MaximizeNeuron, lambda o, y: [sign(a) * (1 - sigmoid(a)) for a in o]),
    "minimize-neuron": (rewards.MinimizeNeuron, lambda o, y: [-sign(a) * (1 - sigmoid(a)) for a in o]),
    "maximize-neuron-2": (
        lambda **kw: rewards.MaximizeNeuron(2, **kw),
        lambda o, y: [sign(a) * (1 - sigmoid(a)) if k == 2 else 0 for k, a in enumerate(o)],
    ),
    "minimize-neuron-last": (
        lambda **kw: rewards.MinimizeNeuron(-1, **kw),
        lambda o, y: [-sign(a) * (1 - sigmoid(a)) if k == len(o) - 1 else 0 for k, a in enumerate(o)],
    ),
}


def samples_of(output):
    """The samples of an output (N, C, ...), as indices of its other dimensions."""
    return list(np.ndindex(*output.shape[:1], *output.shape[2:]))


def along_classes(index):
    return (index[0], slice(None), *index[1:])


def loop(oracle, output, target):
    """R by the oracle, sample after sample."""
    expected = torch.zeros_like(output)
    for index in samples_of(output):
        o = output[along_classes(index)].tolist()
        expected[along_classes(index)] = torch.tensor(oracle(o, target[index].item()), dtype=output.dtype)
    return expected


def divided(R, o):
    """R / (o + ε·sign o), with sign 0 := 1."""
    return R / (o + EPSILON * torch.where(o < 0, -1.0, 1.0))


def logits_and_labels(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(shape, dtype=torch.float64, generator=generator)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return output.requires_grad_(), labels


def gradient_of(value, output):
    (g,) = torch.autograd.grad(value, output)
    return g


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


O = torch.zeros(4, 3)  # noqa: E741 - the output, as in the formulas
LABELS = torch.zeros(4, dtype=torch.int64)
BAD_CALLS = {
    "a model output object": (rewards.Softmax(), {"logits": O}, LABELS, TypeError, r"got a dict.*output\.logits"),
    "an integer output": (rewards.Softmax(), O.long(), LABELS, TypeError, "got int64"),
    "labels of another batch": (rewards.Softmax(), O, LABELS[:3], ValueError, r"\(4,\).*int64 of shape \(3,\)"),
    "one-hot integers": (rewards.Sigmoid(), O, O.long(), ValueError, r"argmax\(1\)"),
    "labels as floats": (rewards.Softmax(), O, LABELS.float(), ValueError, r"target\.long\(\)"),
    "probabilities where classes are due": (rewards.CorrectClassification(), O, O, TypeError, r"argmax\(1\)"),
    "a list of labels": (rewards.Misclassification(), O, [0, 1, 2, 0], TypeError, "got a list"),
    "a label too high": (rewards.Softmax(), O, LABELS + 3, ValueError, "from 0 to 2, got 3 to 3"),
    "a label below zero": (rewards.BoundedSoftmax(), O, LABELS - 100, ValueError, r"output\[keep\]"),
    "classes of a number": (rewards.Softmax(), torch.tensor(1.0), torch.tensor(0), ValueError, "single number"),
    "binary labels −1 and 1": (rewards.BinarySigmoid(), O[:, 0], LABELS - 1, ValueError, r"\(target \+ 1\) / 2"),
    "binary labels of another shape": (rewards.BinarySigmoid(), O, LABELS, ValueError, r"\(4, 3\)"),
    "a target that would broadcast": (rewards.Regression(), O[:, :1], O[:, 0], ValueError, "not broadcast"),
    "no feedback": (rewards.Reward(), O, None, TypeError, "got None"),
    "feedback of another shape": (rewards.Reward(), O, O[:, 0], ValueError, r"\(4, 3\).*\(4,\)"),
    "a neuron too high": (rewards.MaximizeNeuron(3), O, None, ValueError, "0 to 2"),
    "a neuron too low": (rewards.MinimizeNeuron(-4), O, None, ValueError, "0 to 2"),
    "a neuron of a number": (rewards.MinimizeNeuron(0), torch.tensor(1.0), None, ValueError, "has 0 neurons"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_explained(case):
    reward, output, target, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message) as raised:
        reward(output, target)
    assert type(reward).__name__ in str(raised.value)


BAD_SETTINGS = {
    "reduction": (lambda: rewards.Softmax(reduction="avg"), ValueError, "Softmax's reduction.*'avg'"),
    "epsilon": (lambda: rewards.Reward(epsilon=0), ValueError, "epsilon.*> 0, got 0"),
    "infinite epsilon": (lambda: rewards.Reward(epsilon=math.inf), ValueError, "finite"),
    "bounds": (lambda: rewards.BoundedSoftmax(0.9, 0.1), ValueError, "lower=0.9 and upper=0.1"),
    "neuron": (lambda: rewards.MaximizeNeuron("cat"), TypeError, "'cat'"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_explained(case):
    make, error, message = BAD_SETTINGS[case]
    with pytest.raises(error, match=message):
        make()


class WrongShape(rewards.Reward):
    def reward(self, output, target):
        return output.sum(1)


class NotATensor(rewards.Reward):
    def reward(self, output, target):
        return output.numpy()


@pytest.mark.parametrize(
    ("make", "got"), [(WrongShape, r"float32 of shape \(4,\)"), (NotATensor, "a ndarray")], ids=["shape", "kind"]
)
def test_a_user_reward_of_the_wrong_shape_is_explained(make, got):
    with pytest.raises(ValueError, match=rf"{make.__name__}\.reward must return.*\(4, 3\).*{got}"):
        make()(O, None)


def test_a_proportional_reward_without_credit_is_explained():
    with pytest.raises(NotImplementedError, match="credit"):
        rewards.ProportionalReward()(O, None)


def test_the_registry_names_every_reward_that_follows_from_a_target():
    kinds = {value for value in vars(rewards).values() if isinstance(value, type) and issubclass(value, nn.Module)}
    assert set(rewards.REWARDS.values()) == kinds - {rewards.Reward, rewards.ProportionalReward}
    for name, kind in rewards.REWARDS.items():
        kebab = "".join(f"-{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("-")
        assert name == kebab
        assert isinstance(kind(), rewards.Reward)
