"""Machinery of torch that no rule can work under is refused in a sentence."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

import altprop

RULES = [altprop.LFP(), altprop.FeedbackAlignment(seed=0), altprop.KolenPollack(seed=0), altprop.DFA(seed=0)]


def network():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_per_sample_gradients_are_refused(rule):
    model, x = network(), torch.randn(5, 4)
    rule.attach(model)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, one):
        return functional_call(model, weights, (one[None],)).square().sum()

    with pytest.raises(RuntimeError, match="per-sample gradients"):
        vmap(grad(loss), (None, 0))(weights, x)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_tracing_is_refused_where_it_would_learn(rule):
    model, x = network(), torch.randn(5, 4)
    rule.attach(model)
    with pytest.raises(RuntimeError, match=r"torch\.jit\.trace"):
        torch.jit.trace(model, (x,), check_trace=False)
    with torch.no_grad():
        traced = torch.jit.trace(model, (x,), check_trace=False)
        assert torch.equal(traced(x), model(x))
