"""altprop's direct rules beside biotorch's DFA, and beside the formula of the DRTP authors' code, on the same weights.

biotorch 0.0.16 asks for many packages that its layers do not use: ``pip install --no-deps biotorch==0.0.16``.
"""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop

SIZES = (6, 8, 7, 3)


def network(make=nn.Linear):
    layers = [make(a, b) for a, b in pairwise(SIZES)]
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def batch():
    torch.manual_seed(0)
    return torch.randn(5, 6), torch.arange(5) % 3


def updates(model, rule, x, y, projections):
    """With B_l in the place of what the rule has drawn."""
    with rule.attach(model), altprop.targets(y):
        model(x)
        for number, B in projections.items():
            model[number].feedback_projection.copy_(B)
        F.cross_entropy(model(x), y).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.filterwarnings("ignore")  # biotorch uses a kind of hook that torch has deprecated
def test_dfa_equals_biotorch():
    from biotorch.layers.dfa import linear as layers  # noqa: PLC0415 - it warns on import

    x, y = batch()
    theirs = network(lambda a, b: layers.Linear(a, b, SIZES[-1], layer_config={"type": "dfa"}))
    ours = network()
    for number in (0, 2, 4):
        ours[number].load_state_dict({name: getattr(theirs[number], name).detach() for name in ("weight", "bias")})
    output = theirs(x)
    loss = F.cross_entropy(output, y)
    (e,) = torch.autograd.grad(loss, output, retain_graph=True)
    for layer in theirs.modules():
        layer.loss_gradient = e
    loss.backward()
    found = updates(ours, altprop.DFA(), x, y, {number: theirs[number].weight_backward for number in (2, 4)})
    for name, update in found.items():
        torch.testing.assert_close(update, theirs.get_parameter(name).grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", [altprop.DFA, altprop.DRTP])
def test_equals_the_formula_of_the_drtp_authors_code(rule):
    """Their hook replaces the gradient at each hidden activation by (y − y*)·B for DFA, and by y*·B for DRTP."""
    x, y = batch()
    model, one_hot = network(), F.one_hot(y, 3).float()
    projections = {2: torch.randn(3, 8), 4: torch.randn(3, 7)}
    found = updates(model, rule(), x, y, projections)
    model.zero_grad()
    hidden = [model[:2](x)]
    hidden.append(model[2:4](hidden[0].detach()))
    output = model[4](hidden[1].detach())
    error = output.softmax(1).detach() - one_hot
    source = error if rule is altprop.DFA else one_hot
    # Theirs is a sum over the batch at this place; altprop averages, as the loss does.
    for h, B in zip(hidden, projections.values(), strict=True):
        h.backward(source.mm(B) / len(y))
    output.backward(error / len(y))
    for name, update in found.items():
        torch.testing.assert_close(update, model.get_parameter(name).grad, rtol=1e-5, atol=1e-7)
