"""One training step of each rule, the way its users would write it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import altprop
from altprop.rules._projecting import When


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
BIOTORCH = "biotorch-fa"
BY_HAND = "dfa-by-hand"
NOT_OURS = (PEER, BIOTORCH, BY_HAND)


def step_of(
    rule: str, model: nn.Module, x: Tensor, y: Tensor, compiled: bool = False, bfloat16: bool = False
) -> Callable[[], None]:
    """A function that does one whole step: zero_grad, forward, loss, backward, SGD."""
    if rule == PEER:
        return _lfprop_step(model, x, y)
    if rule == BIOTORCH:
        return _biotorch_step(model, x, y)
    if rule == BY_HAND:
        return _dfa_by_hand(model, x, y)
    warnings.filterwarnings("ignore", "LFP scales each update", UserWarning)
    RULES[rule]().attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    run = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        with altprop.targets(y), torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()

    return step


def available() -> list[str]:
    """The rules that can be measured here, with the published packages where ``make parity`` has installed them."""
    installed = [name for name, package in ((PEER, "lfprop"), (BIOTORCH, "biotorch")) if find_spec(package)]
    return [*RULES, BY_HAND, *installed]


def _biotorch_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Feedback alignment by biotorch's layers, in the place of torch's."""
    warnings.filterwarnings("ignore", "Using a non-full backward hook", FutureWarning)
    layers = {kind: import_module(f"biotorch.layers.fa.{kind}") for kind in ("conv", "linear")}
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size
            setattr(model, name, layers["conv"].Conv2d(*sizes, padding=layer.padding).to(x.device))
        elif isinstance(layer, nn.Linear):
            setattr(model, name, layers["linear"].Linear(layer.in_features, layer.out_features).to(x.device))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def _dfa_by_hand(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """DFA written out for a chain of layers, with no library in between: the least that a direct rule can cost here."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    layers = list(model.children())
    cuts = [n for n, layer in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d)][1:]
    projections: dict[int, Tensor] = {}

    def step() -> None:
        optimizer.zero_grad()
        h, hidden = x, []
        for n, layer in enumerate(layers):
            if n in cuts:
                hidden.append(h)
                h = h.detach()
            h = layer(h)
        output = h.detach().requires_grad_()
        F.cross_entropy(output, y).backward()
        for n, taught in zip(cuts, hidden, strict=True):
            projections.setdefault(n, torch.randn(output.shape[1], taught[0].numel(), device=x.device))
        signals = [(output.grad @ projections[n]).view_as(taught) for n, taught in zip(cuts, hidden, strict=True)]
        torch.autograd.backward([h, *hidden], [output.grad, *signals])
        optimizer.step()

    return step


def _lfprop_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The step of lfprop's own README: a composite around the forward pass, and its feedback written into .grad."""
    from lfprop.propagation.propagator_lxt import LFPEpsilonComposite  # noqa: PLC0415
    from lfprop.rewards.reward_functions import SoftmaxLossReward  # noqa: PLC0415

    warnings.filterwarnings("ignore", "This functionality is not yet fully tested", UserWarning)
    composite, reward = LFPEpsilonComposite(), SoftmaxLossReward(device=x.device)
    if hasattr(model, "takes"):
        return _lfprop_vit_step(model, x, y)
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


def _lfprop_vit_step(transformer: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The same for a vision transformer, which lfprop traces anew at each step; it has no feedback for embeddings."""
    from lfprop.propagation.propagator_vit import LFPEpsilonComposite  # noqa: PLC0415
    from lfprop.rewards.reward_functions import SoftmaxLossReward  # noqa: PLC0415

    warnings.filterwarnings("ignore", "Some functions have been replaced by tracing", UserWarning)
    model, composite, reward = transformer.model, LFPEpsilonComposite(), SoftmaxLossReward(device=x.device)
    model.vit.embeddings.requires_grad_(False)
    model.config._attn_implementation = "eager"
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        with composite.context(model, dummy_inputs={transformer.takes: x}) as modified:
            inputs = x.detach().requires_grad_()
            outputs = modified(**{transformer.takes: inputs}).logits
            torch.autograd.grad((outputs,), (inputs,), grad_outputs=(reward(outputs, y).detach() / len(y),))
        for parameter in learning:
            parameter.grad = -parameter.feedback
        optimizer.step()

    return step
