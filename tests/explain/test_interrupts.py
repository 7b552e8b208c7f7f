"""Ctrl-C in the middle of an explanation: the model, and torch, are as they were."""

import pytest
import torch
from torch import nn

import altprop
from altprop import _preserve
from tests.failures import Interrupt

from .networks import state_of


class RMSNorm(nn.Module):
    """An operation that is taken as a whole."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, h):
        return self.scale * h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)


class Writes(nn.Module):
    """Keeps an activation in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(2, 8))

    def forward(self, h):
        self.last[:] = h
        return self.last.clone()


def model():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 8), nn.ReLU(), RMSNorm(), Writes(), nn.Dropout(), nn.Linear(8, 3), nn.Sigmoid()]
    made = nn.Sequential(*layers).train()
    made[4].eval()
    return made


def fingerprint(model):
    state = state_of(model)
    graph = [(buffer.requires_grad, buffer.is_leaf) for buffer in model.buffers()]
    marks = [sorted(vars(parameter)) for parameter in model.parameters()]
    kept = ("requires_grad", "gradients", "keys", "training", "classes", "attributes", "hooks")
    return [state[name] for name in kept], graph, marks, _of_torch(), len(_preserve._evaluated)


def _of_torch():
    return torch._C._len_torch_function_stack(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()


USES = {
    "attribute": lambda lrp, x: lrp.attribute(x, 1),
    "trace": lambda lrp, x: lrp.trace(x, 1),
    "conservation": lambda lrp, x: lrp.conservation(x, 1),
    "weight_relevance": lambda lrp, x: lrp.weight_relevance(x, 1),
    "inspect": lambda lrp, x: altprop.inspect(lrp.model, x, lrp),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_interrupt_at_any_line_leaves_the_model_as_it_was(use):
    x, changed = torch.randn(2, 4), []
    use(altprop.LRP(model(), "epsilon_plus"), x)  # what happens only once is not looked at
    with Interrupt(0) as whole:
        use(altprop.LRP(model(), "epsilon_plus"), x)
    for n in range(1, whole.count + 1, 9):
        explained = model()
        lrp, before = altprop.LRP(explained, "epsilon_plus"), fingerprint(explained)
        try:
            with torch.no_grad(), Interrupt(n) as interrupt:
                use(lrp, x)
        except (KeyboardInterrupt, SystemError):  # torch's C++ makes the second of the first
            if fingerprint(explained) != before:
                changed.append(interrupt.place)
    assert not changed
