"""What LRP conserves, on networks drawn at random: relevance, linearity, and the gradient that LRP-0 is."""

import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import LAYERS, AlphaBeta, Composite, Epsilon, Flat, Gamma, Norm, WSquare, ZBox, ZPlus, both, first

from .networks import assert_same_state, state_of

TINY = 1e-12
CONSERVING = {
    "Epsilon": Epsilon(TINY),
    "Gamma": Gamma(0.3, epsilon=TINY),
    "WSquare": WSquare(TINY),
    "Flat": Flat(TINY),
    "Norm": Norm(epsilon=TINY),
    "first ZBox": Composite([(first, ZBox(-3.0, 3.0, TINY)), (LAYERS, Epsilon(TINY))]),
    "first Flat": Composite([(both(first, LAYERS), Flat(TINY)), (LAYERS, Gamma(epsilon=TINY))]),
    "first WSquare, then ZPlus": Composite([(first, WSquare(TINY)), (LAYERS, ZPlus(epsilon=TINY))]),
    "ZPlus": ZPlus(epsilon=TINY),
}
RULES = CONSERVING | {"AlphaBeta": AlphaBeta(2.0, 1.0, epsilon=TINY)}


def with_exact_sums(rule):
    """The composite of a rule, with sums and averages stabilised as little as layers are."""
    pairs = list(rule.pairs) if isinstance(rule, Composite) else [(LAYERS, rule)]
    return Composite([*pairs, (lambda layer: "norm" not in layer.function, Norm(epsilon=TINY))])


class Layer(nn.Module):
    """One block of a network drawn at random."""

    def __init__(self, kind, channels, width):
        super().__init__()
        self.kind = kind
        self.layer = nn.Conv1d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(width) if kind == "normed" else nn.Identity()
        self.side = nn.Conv1d(width, width, 1, bias=False)
        self.width = 2 * width if kind == "concatenated" else width

    def forward(self, x):
        h = F.relu(self.norm(self.layer(x)))
        if self.kind == "residual":
            h = h + F.relu(self.side(h))
        if self.kind == "in place":
            h += F.relu(self.side(h)) * 0.5
        if self.kind == "concatenated":
            h = torch.cat([h, F.relu(self.side(h))], 1)
        if self.kind == "max pool":
            h = F.max_pool1d(h, 2, stride=1)
        if self.kind == "average pool":
            h = F.avg_pool1d(h, 2, stride=1)
        if self.kind == "gated":
            h = h * F.relu(self.side(h)).mean(2, keepdim=True)
        return h


KINDS = ("plain", "normed", "residual", "in place", "concatenated", "max pool", "average pool", "gated")


@st.composite
def networks(draw, kinds=KINDS):
    """A network without biases or shifts, and inputs for it, in double precision; its weights are mostly positive."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    channels, layers = 2, []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        layers.append(Layer(kind, channels, draw(st.integers(2, 4))))
        channels = layers[-1].width
    head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, 3, bias=False))
    model = nn.Sequential(*layers, head).double().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.2)
    x = torch.randn(3, 2, 7, dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_var.uniform_(0.5, 2.0)
            module.bias.data.zero_()
    return model, x


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=12, deadline=None)
@given(case=networks())
def test_relevance_is_conserved(name, case):
    model, x = case
    output = model(x)[:, 1].detach()
    assume(bool((output.abs() > 0.05).all()))
    lrp = altprop.LRP(model, with_exact_sums(RULES[name]))
    R, delta = lrp.attribute(x, target=1, return_convergence_delta=True)
    total = R.flatten(1).sum(1)
    torch.testing.assert_close(total + delta, output)
    books = lrp.conservation(x, target=1)
    kept = sum(record.stabilisers for record in books)
    assert float(delta.sum()) == pytest.approx(kept, abs=1e-9 * max(abs(record.received) for record in books))
    # A neuron without positive contributions (or, with beta, without negative ones) has nothing to hand relevance to.
    if name in CONSERVING and all(abs(record.stabilisers) < 1e-7 for record in books):
        torch.testing.assert_close(total, output, rtol=1e-5, atol=0)
        event("conserved")


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@settings(max_examples=8, deadline=None)
@given(case=networks(), factor=st.floats(-3, 3))
def test_relevance_is_linear_in_what_it_starts_with(rule, case, factor):
    model, x = case
    lrp = altprop.LRP(model, rule)
    one, other = (torch.randn(3, 3, dtype=torch.float64) for _ in range(2))
    together = lrp.attribute(x, target=one + factor * other)
    apart = lrp.attribute(x, target=one) + factor * lrp.attribute(x, target=other)
    scale = float(apart.abs().max()) + 1.0
    torch.testing.assert_close(together / scale, apart / scale, rtol=1e-6, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(case=networks(kinds=("plain", "normed", "concatenated", "max pool")))
def test_lrp_0_is_input_times_gradient_in_relu_networks(case):
    model, x = case
    leaf = x.clone().requires_grad_()
    output = model(leaf)[:, 1]
    assume(bool((output.abs() > 0.05).all()))
    expected = x * torch.autograd.grad(output.sum(), leaf)[0]
    found = altprop.LRP(model, with_exact_sums(Epsilon(0.0))).attribute(x, target=1)
    torch.testing.assert_close(found, expected)


@settings(max_examples=15, deadline=None)
@given(case=networks(kinds=[kind for kind in KINDS if kind != "in place"]))
def test_the_gradient_is_autograds(case):
    model, x = case
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(altprop.LRP(model, "gradient").attribute(x, target=1), expected)


@pytest.mark.parametrize("rule", CONSERVING.values(), ids=CONSERVING)
@settings(max_examples=5, deadline=None)
@given(case=networks())
def test_the_model_is_left_bit_for_bit(rule, case):
    model, x = case
    before = state_of(model)
    altprop.LRP(model, rule).attribute(x)
    assert_same_state(model, before)


def biased():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(True), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)]
    model = nn.Sequential(*layers).double().eval()
    model[1].running_mean.uniform_(-0.2, 0.2)
    return model


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_plus_flat", Gamma()])
@pytest.mark.parametrize("target", [1, None, torch.ones(3, 4).double()], ids=["index", "largest", "given"])
def test_the_books_agree_with_the_delta(composite, target):
    x = torch.randn(3, 2, 6, 6).double()
    lrp = altprop.LRP(biased(), composite)
    books = lrp.conservation(x, target)
    for record in books:
        assert record.received - record.passed == pytest.approx(record.biases + record.stabilisers)
    R, delta = lrp.attribute(x, target, return_convergence_delta=True)
    kept = sum(record.biases + record.stabilisers for record in books)
    assert float(delta.sum()) == pytest.approx(kept)
    assert books.explained - books.reached == pytest.approx(kept)
    assert books.reached == pytest.approx(float(R.sum()))


def test_the_books_name_what_a_bias_keeps():
    model, x = biased(), torch.randn(3, 2, 6, 6).double()
    books = altprop.LRP(model, Epsilon(0.1)).conservation(x, target=1)
    last, first_layer = books[0], books[-1]
    z = model(x)[:, 1].detach()
    assert (last.module, last.operation, last.received) == ("5", "linear", pytest.approx(float(z.sum())))
    assert last.stabilisers == pytest.approx(float((z - z * z / (z + 0.1 * z.sign())).sum()))
    assert last.biases == pytest.approx(float((model[5].bias[1].detach() * z / (z + 0.1 * z.sign())).sum()))
    assert first_layer.module == "0" and first_layer.rule == repr(Epsilon(0.1))
    table = str(books)
    assert table.splitlines()[0].split() == [
        "module", "operation", "rule", "received", "passed", "biases", "stabilisers",
    ]  # fmt: skip
    assert table.count("\n") == len(books) + 1 and "reached the inputs" in table.splitlines()[-1]


@pytest.mark.parametrize("composite", ["gradient", "guided_backprop"])
def test_gradients_have_no_books(composite):
    with pytest.raises(ValueError, match="hands gradients back: there is no relevance to be conserved"):
        altprop.LRP(biased(), composite).conservation(torch.randn(1, 2, 6, 6).double())
