"""altprop.LFP hands back what lfprop 1.0.0 hands back, on the same weights. Run by ``make parity``."""

import copy
import operator
import warnings

import pytest
import torch
from lfprop.model.activations import Step
from lfprop.model.custom_resnet import Sum
from lfprop.propagation.propagator_lxt import LFPEpsilonComposite, LFPHebbianEpsilonComposite
from lfprop.rewards import reward_functions
from torch import nn

import altprop

EPSILON = 1e-6


class Residual(nn.Module):
    """lfprop sees a sum only as a module of its own, its ``Sum``; altprop sees the ``+``."""

    def __init__(self, act, add):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), act, nn.Conv2d(4, 4, 3, padding=1))
        self.add, self.act, self.act_after = add, copy.deepcopy(act), copy.deepcopy(act)
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(16, 10)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        x = self.act_after(self.add(self.body(x), x))
        return self.head(self.pool(x).flatten(1))


def mlp(act, add):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(144, 20), act, nn.Linear(20, 15), copy.deepcopy(act), nn.Linear(15, 10)
    )


def lenet(pool):
    def make(act, add):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), act, pool(2), nn.Conv2d(4, 6, 2), copy.deepcopy(act), pool(2), nn.Flatten(),
            nn.Linear(24, 12), copy.deepcopy(act), nn.Linear(12, 10),
        )  # fmt: skip

    return make


MODELS = {"mlp": mlp, "lenet-max": lenet(nn.MaxPool2d), "lenet-average": lenet(nn.AvgPool2d), "residual": Residual}
ACTIVATIONS = {"ReLU": nn.ReLU, "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid, "GELU": nn.GELU, "SiLU": nn.SiLU, "Step": None}


def pair(model, activation):
    """The same network for lfprop, with its own Step and Sum, and for altprop."""
    torch.manual_seed(0)
    act = ACTIVATIONS[activation]
    theirs = MODELS[model]((act or Step)(), Sum()).double()
    ours = MODELS[model]((act or altprop.nn.Step)(), operator.add).double()
    for parameter in theirs.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def batch(model):
    """Inputs, and labels of which the model gets half right: some rewards are for the right answers only."""
    torch.manual_seed(1)
    x, labels = torch.randn(8, 1, 12, 12, dtype=torch.float64), torch.arange(8) % 10
    with torch.no_grad():
        labels[::2] = copy.deepcopy(model)(x)[::2].argmax(1)
    return x, labels


def lfprop_feedback(model, reward_function, composite):
    x, labels = batch(model)
    with composite.context(model) as modified:
        x = x.requires_grad_()
        output = modified(x)
        reward = reward_function(output, labels).detach()
        (input_reward,) = torch.autograd.grad((output,), (x,), grad_outputs=(reward,))
    return {name: parameter.feedback for name, parameter in model.named_parameters()}, input_reward


def altprop_feedback(model, objective, rule):
    x, labels = batch(model)
    x.requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attachment = rule.attach(model)
    with attachment:
        objective(model(x), labels).backward()
    return {name: -parameter.grad for name, parameter in model.named_parameters()}, -x.grad * x.detach()


def assert_same(theirs, ours):
    for name, value in (theirs[0] | {"input": theirs[1]}).items():
        found = (ours[0] | {"input": ours[1]})[name]
        error = (found - value).norm() / value.norm()
        assert error < 1e-5, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("model", MODELS)
def test_cross_entropy_gives_lfprops_feedback(model, activation):
    theirs, ours = pair(model, activation)
    reward = reward_functions.SoftmaxLossReward(device="cpu")
    expected = lfprop_feedback(theirs, reward, LFPEpsilonComposite(epsilon=EPSILON))
    objective = nn.CrossEntropyLoss(reduction="sum")
    assert_same(expected, altprop_feedback(ours, objective, altprop.LFP(EPSILON, strict=True)))


REWARDS = {
    "SoftmaxLossReward": altprop.rewards.Softmax,
    "SigmoidLossReward": altprop.rewards.Sigmoid,
    "BoundedSoftmaxReward": altprop.rewards.BoundedSoftmax,
    "CorrectclassificationReward": altprop.rewards.CorrectClassification,
    "MisclassificationReward": altprop.rewards.Misclassification,
    "MaximizeSingleNeuron": altprop.rewards.MaximizeNeuron,
    "MinimizeSingleNeuron": altprop.rewards.MinimizeNeuron,
}


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_give_lfprops_feedback(name):
    theirs, ours = pair("lenet-max", "ReLU")
    reward = getattr(reward_functions, name)(device="cpu")
    expected = lfprop_feedback(theirs, reward, LFPEpsilonComposite(epsilon=EPSILON))
    # The model's last factor stabilises already; a second ε in the reward would add its own 1e-5.
    objective = REWARDS[name](reduction="sum", epsilon=1e-12)
    assert_same(expected, altprop_feedback(ours, objective, altprop.LFP(EPSILON, strict=True)))


def test_the_hebbian_update_is_lfprops():
    theirs, ours = pair("mlp", "Tanh")
    reward = reward_functions.SoftmaxLossReward(device="cpu")
    expected = lfprop_feedback(theirs, reward, LFPHebbianEpsilonComposite(epsilon=EPSILON))
    objective = nn.CrossEntropyLoss(reduction="sum")
    assert_same(expected, altprop_feedback(ours, objective, altprop.LFP(EPSILON, update="hebbian")))
