"""What a reward says to a call that makes no sense."""

import math

import pytest
import torch

from altprop import rewards

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
