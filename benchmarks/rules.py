"""One training step of each rule, the way its users would write it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import altprop
from altprop.rules.direct import When


def _quiet_drtp(when: When = "backward") -> altprop.DRTP:
    """DRTP without its warning about ReLU, which the benchmarks' networks have: time and memory do not mind."""
    warnings.filterwarnings("ignore", "DRTP teaches", UserWarning)
    return altprop.DRTP(when=when)


RULES: dict[str, Callable[[], altprop.Rule]] = {
    "backprop": altprop.Backprop,
    "lfp": altprop.LFP,
    "lfp-0": lambda: altprop.LFP(epsilon=0),
    "fa": altprop.FeedbackAlignment,
    "usf": altprop.SignSymmetric,
    "brsf": lambda: altprop.SignSymmetric("batchwise"),
    "frsf": lambda: altprop.SignSymmetric("fixed"),
    "kp": altprop.KolenPollack,
    "dfa": altprop.DFA,
    "drtp": _quiet_drtp,
    "drtp-forward": lambda: _quiet_drtp("forward"),
    "local-loss": altprop.LocalLoss,
    "local-loss-forward": lambda: altprop.LocalLoss(when="forward"),
    "shallow": altprop.Shallow,
}
PEER = "lfprop"


def step_of(rule: str, model: nn.Module, x: Tensor, y: Tensor, compiled: bool = False) -> Callable[[], None]:
    """A function that does one whole step: zero_grad, forward, loss, backward, SGD."""
    if rule == PEER:
        return _lfprop_step(model, x, y)
    RULES[rule]().attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    run = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        with altprop.targets(y):
            loss = F.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()

    return step


def available() -> list[str]:
    """The rules that can be measured here: lfprop 1.0.0 too where it is installed (``make parity`` installs it)."""
    return [*RULES, *([PEER] if find_spec(PEER) else [])]


def _lfprop_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The step of lfprop's own README: a composite around the forward pass, and its feedback written into .grad."""
    from lfprop.propagation.propagator_lxt import LFPEpsilonComposite  # noqa: PLC0415
    from lfprop.rewards.reward_functions import SoftmaxLossReward  # noqa: PLC0415

    warnings.filterwarnings("ignore", "This functionality is not yet fully tested", UserWarning)
    composite, reward = LFPEpsilonComposite(), SoftmaxLossReward(device=x.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        with composite.context(model) as modified:
            inputs = x.detach().requires_grad_()
            outputs = modified(inputs)
            torch.autograd.grad((outputs,), (inputs,), grad_outputs=(reward(outputs, y).detach() / len(y),))
        for parameter in model.parameters():
            parameter.grad = -parameter.feedback
        optimizer.step()

    return step
