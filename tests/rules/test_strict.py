"""``strict=True``: whatever a rule would warn of is an error, and the model is left as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from tests.test_rule import assert_unchanged, snapshot

FEEDBACK = [altprop.FeedbackAlignment, altprop.SignSymmetric, altprop.KolenPollack]
DIRECT = [altprop.DFA, altprop.DRTP, altprop.LocalLoss, altprop.Shallow]


def bounded():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def step(model, forward=None):
    x, y = torch.ones(6, 4), torch.arange(6) % 3
    with altprop.targets(y):
        F.cross_entropy((forward or model)(x), y).backward()


@pytest.mark.parametrize("kind", FEEDBACK + DIRECT)
def test_a_rule_that_is_in_force_is_the_same_under_strict_and_says_so(kind):
    grads = []
    for strict in (False, True):
        model = bounded()
        rule = kind(strict=strict) if kind is altprop.Shallow else kind(seed=0, strict=strict)
        assert ("strict=True" in repr(rule)) is strict
        with rule.attach(model):
            step(model)
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(map(torch.equal, *grads))


class Tied(nn.Module):
    """Uses a layer's weight without a call of the layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(self.second(torch.tanh(self.first(x))), self.first.weight)


class Free(nn.Module):
    """A weight that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.first, self.matrix = nn.Linear(4, 4), nn.Parameter(torch.eye(4))

    def forward(self, x):
        return self.first(x) @ self.matrix


class Pair(nn.Module):
    """Two outputs."""

    def __init__(self):
        super().__init__()
        self.body, self.one, self.other = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return self.one(h), self.other(h)


def around(model):
    step(model, lambda x: model[4](model[3](model[2](x.repeat(1, 2)))))


def both(model):
    one, other = model(torch.ones(6, 4))
    (one.sum() + other.sum()).backward()


def twice(model):
    """The weights move, and what the feedback weights are does not."""
    for _ in range(2):
        step(model)
        with torch.no_grad():
            model[0].weight.add_(1.0)


CASES = {
    "called around": (bounded, altprop.DFA(seed=0), altprop.DFA(seed=0, strict=True), around, "is not in force"),
    "called around, control": (bounded, altprop.Shallow(), altprop.Shallow(strict=True), around, "is not in force"),
    "not cut": (Tied, altprop.DFA(seed=0), altprop.DFA(seed=0, strict=True), step, "does not cut"),
    "two outputs": (Pair, altprop.DFA(seed=0), altprop.DFA(seed=0, strict=True), both, "too: its error"),
    "passed by": (
        Pair, altprop.DFA(seed=0, output="other"), altprop.DFA(seed=0, output="other", strict=True),
        lambda model: model(torch.ones(6, 4))[0].sum().backward(), "does not depend on the output",
    ),
    "free weight": (
        Free, altprop.FeedbackAlignment(seed=0), altprop.FeedbackAlignment(seed=0, strict=True), step,
        "does not handle these weights",
    ),
    "not called": (
        bounded, altprop.FeedbackAlignment(seed=0), altprop.FeedbackAlignment(seed=0, strict=True),
        lambda model: F.linear(torch.ones(6, 4), model[0].weight).sum().backward(), "did not act in",
    ),
    "does not move": (
        bounded, altprop.KolenPollack(seed=0), altprop.KolenPollack(seed=0, strict=True), twice,
        "feedback weights have not",
    ),
    "new layer": (
        bounded, altprop.FeedbackAlignment(seed=0), altprop.FeedbackAlignment(seed=0, strict=True),
        lambda model: model.append(nn.Linear(3, 3)), "put into the model",
    ),
    "new layer, uncut": (
        bounded, altprop.DFA(seed=0), altprop.DFA(seed=0, strict=True),
        lambda model: model.append(nn.Linear(3, 3)), "put into the model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_warning_is_an_error_under_strict(case):
    make, rule, strict, use, message = case
    with rule.attach(model := make()), pytest.warns(UserWarning, match=message):
        use(model)
    before = snapshot(model := make())
    with strict.attach(model), pytest.raises(RuntimeError, match=f"(?s){message}.*strict=True"):
        use(model)
    if make is not bounded or (use is not twice and "put into" not in message):
        model.zero_grad()
        assert_unchanged(before, snapshot(model))


def table():
    return nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 4)), nn.LSTM(4, 4))


def replaced():
    model = bounded()
    model[2].forward = lambda x: F.linear(x, model[2].weight)
    return model


ATTACHING = {
    "unbounded": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), altprop.DRTP),
    "keeps backprop": (table, altprop.FeedbackAlignment),
    "forward replaced": (replaced, altprop.SignSymmetric),
    "parametrised": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))), altprop.KolenPollack
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ATTACHING.values(), ids=ATTACHING)
def test_each_warning_on_attaching_is_an_error_under_strict(case):
    make, kind = case
    with pytest.warns(UserWarning):
        kind(seed=0).attach(make())
    before = snapshot(model := make())
    with pytest.raises(RuntimeError, match="strict=True makes this an error"):
        kind(seed=0, strict=True).attach(model)
    assert_unchanged(before, snapshot(model))


class Exponential(nn.Module):
    """W exp(V x), by a matrix exponential, for which LFP has no rule."""

    def __init__(self):
        super().__init__()
        self.v, self.w = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.w(torch.linalg.matrix_exp(torch.linalg.matrix_exp(self.v(x))))


def test_lfp_names_an_operation_without_a_rule_while_it_is_compiled_too():
    torch._dynamo.reset()
    model, x = Exponential(), torch.randn(4, 4)
    with altprop.LFP().attach(model), pytest.warns(UserWarning, match="no rule for linalg_matrix_exp") as heard:
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        compiled(x)
        compiled(x)
    assert sum("no rule for" in str(each.message) for each in heard) == 1
    torch._dynamo.reset()
    with altprop.LFP(strict=True).attach(model), pytest.raises(Exception, match=r"no rule for linalg_matrix_exp"):
        torch.compile(model, fullgraph=True, backend="aot_eager")(x)
