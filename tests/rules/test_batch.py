"""Which axis is the batch: found where the shapes allow one reading, told, or asked for."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from tests.rules.test_direct import attach_quietly

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


class Loop(nn.Module):
    """A loop over time in forward, its outputs stacked as (steps, batch, classes)."""

    def __init__(self, steps):
        super().__init__()
        self.first, self.last, self.steps = nn.Linear(6, 8), nn.Linear(8, 3), steps
        self.double()

    def forward(self, x):
        h = torch.tanh(self.first(x))
        return torch.stack([self.last(h * t / 16) for t in range(1, self.steps + 1)])


def batch(n=16):
    torch.manual_seed(1)
    return torch.randn(n, 6, dtype=torch.float64), torch.arange(n) % 3


def loop(steps, **options):
    torch.manual_seed(0)
    model = Loop(steps)
    return model, altprop.DFA(seed=0, **options).attach(model)


def taught(model, x, y):
    """The teaching signal at each sample, as it arrives at the input."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x).sum(0), y), x)[0]


@pytest.mark.parametrize(("steps", "told"), [(10, None), (10, 1), (16, 1)])
def test_a_sample_is_taught_by_its_own_steps(steps, told):
    """By hand: every h_t (a scaled view of h) is taught by B_t e, e that sample's errors of all steps."""
    model, attachment = loop(steps, batch_dim=told)
    x, y = batch()
    x.requires_grad_()
    output = model(x)
    output.retain_grad()
    F.cross_entropy(output.sum(0), y).backward()
    e = output.grad.movedim(1, 0).flatten(1)
    names = ["feedback_projection", *(f"feedback_projection_{t}" for t in range(1, steps))]
    signal = sum((t + 1) / 16 * (e @ getattr(model.last, name)) for t, name in enumerate(names))
    attachment.remove()
    (expected,) = torch.autograd.grad(torch.tanh(model.first(x)), x, signal)
    torch.testing.assert_close(x.grad, expected, **CLOSE)


def test_as_many_steps_as_samples_are_asked_about():
    model, _ = loop(16)
    with pytest.raises(ValueError, match=r"cannot tell which dimension .* is the batch.*batch_dim=1"):
        model(batch()[0])


def test_an_earlier_batch_tells_what_a_later_one_does_not():
    model, _ = loop(16)
    x, y = batch(24)
    model(x)
    x, y = x[:16], y[:16]
    other = y.clone()
    other[3] = (other[3] + 1) % 3
    assert (taught(model, x, y) - taught(model, x, other)).abs().sum(1).count_nonzero() == 1


def test_a_copy_remembers_the_batch_axis():
    model, _ = loop(16)
    model(batch(24)[0])
    copy.deepcopy(model)(batch(16)[0])


class Positions(nn.Module):
    """Token by token, with a layer whose input has positions and no batch."""

    def __init__(self, batch_first=True, pooled=False):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.table = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 8))
        self.pooled, self.placed = pooled, False
        self.axis = 1 if batch_first else 0
        self.double()

    def forward(self, x):
        h = torch.tanh(self.b(torch.tanh(self.a(x))))
        if self.placed:
            places = torch.arange(2.0 * x.shape[1], dtype=x.dtype).view(-1, 2)
            h = h + self.table(places)
        return self.c(h.mean(self.axis)) if self.pooled else self.c(h)


def test_square_outputs_of_each_position_need_no_axis():
    torch.manual_seed(0)
    model, x = Positions(), torch.randn(5, 5, 6, dtype=torch.float64)
    altprop.DFA(seed=0, blocks=["c"]).attach(model)
    output = model(x)
    e = torch.randn_like(output)
    output.backward(e)
    signal = e @ model.c.feedback_projection
    altprop.Attachment.of(model).remove()
    h = torch.tanh(model.b(torch.tanh(model.a(x))))
    (expected,) = torch.autograd.grad(h, model.b.weight, signal)
    torch.testing.assert_close(model.b.weight.grad, expected, **CLOSE)


def test_a_layer_without_a_batch_is_not_taken_for_one_of_samples():
    """Outputs (4, 7, 3) and a hidden layer of 7 positions: not 7 samples of 4 steps."""
    model = Positions()
    model.placed = True
    with altprop.DFA(seed=0).attach(model), pytest.raises(ValueError, match="batch"):
        model(torch.randn(4, 7, 6, dtype=torch.float64))


@pytest.mark.parametrize("rule", [altprop.DFA, altprop.DRTP, altprop.LocalLoss])
def test_positions_first_are_refused_also_where_the_lengths_are_equal(rule):
    model = Positions(batch_first=False, pooled=True)
    for positions in (7, 5):
        attachment = attach_quietly(rule(seed=0, blocks=["b", "c"]), model)
        with altprop.targets(torch.arange(5) % 3), pytest.raises(ValueError, match="batch"):
            model(torch.randn(positions, 5, 6, dtype=torch.float64))
        attachment.remove()


@pytest.mark.parametrize("rule", [altprop.DFA, altprop.DRTP, altprop.LocalLoss])
def test_as_many_positions_as_samples_are_asked_about_once(rule):
    model, y = Positions(pooled=True), torch.arange(5) % 3
    x, other = (torch.randn(5, positions, 6, dtype=torch.float64) for positions in (5, 7))
    with altprop.targets(y):
        with attach_quietly(rule(seed=0, blocks=["b", "c"]), model):
            with pytest.raises(ValueError, match="cannot tell the batch from the positions"):
                model(x)
            model(other)
            model(x)
        with attach_quietly(rule(seed=0, blocks=["b", "c"], batch_dim=0), model):
            model(x)


def test_drtp_teaches_each_step_of_a_loop_with_its_samples_targets():
    """Targets are of samples, so that as many steps as samples are no question."""
    torch.manual_seed(0)
    model, (x, y) = Loop(16), batch()
    attach_quietly(altprop.DRTP(seed=0, batch_dim=1), model)
    other = y.clone()
    other[3] = (other[3] + 1) % 3
    signals = []
    for targets in (y, other):
        x.grad = None
        x.requires_grad_()
        with altprop.targets(targets):
            model(x).sum().backward()
        signals.append(x.grad)
    assert (signals[0] - signals[1]).abs().sum(1).count_nonzero() == 1


@pytest.mark.parametrize("signal", ["error", "sign"])
def test_outputs_without_classes_are_outputs_of_one_class(signal):
    torch.manual_seed(0)
    x = torch.randn(9, 6)
    found = []
    for end in (nn.Flatten(0), nn.Identity()):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), end)
        altprop.DFA(seed=0, signal=signal).attach(model)
        model(x).square().mean().backward()
        found.append(model[0].weight.grad)
    assert found[0].any()
    assert torch.equal(*found)


RULES = [
    altprop.DFA(seed=0),
    altprop.DFA(seed=0, signal="sign"),
    altprop.DRTP(seed=0),
    altprop.DRTP(seed=0, when="forward"),
    altprop.LocalLoss(seed=0),
    altprop.LocalLoss(seed=0, classifier="trained", when="forward"),
    altprop.LocalLoss(seed=0, loss="mse"),
    altprop.Shallow(),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_an_empty_batch_gives_gradients_of_zero_and_draws_nothing(rule):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    attach_quietly(rule, model)
    with altprop.targets(torch.zeros(0, dtype=torch.long)):
        model(torch.zeros(0, 1, 4, 4)).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert not parameter.grad.any(), name
    learning = [name for name, p in model.named_parameters() if p.grad is not None and "local" not in name]
    assert len(learning) == (2 if isinstance(rule, altprop.Shallow) else 6)
    with altprop.targets(torch.tensor([0, 1])):
        model(torch.randn(2, 1, 4, 4)).sum().backward()


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3)), torch.randn(6)),
        (nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 3), nn.Flatten(0)), torch.randn(1, 5, 5)),
    ],
)
def test_a_sample_without_a_batch_is_refused(model, x):
    with altprop.DFA(seed=0).attach(model), pytest.raises(ValueError, match="unsqueeze"):
        model(x)


def test_wrong_batch_dims_are_named():
    with pytest.raises(ValueError, match="batch_dim must be"):
        altprop.DFA(batch_dim=-1)
    model, _ = loop(3, batch_dim=3)
    with pytest.raises(ValueError, match="told batch_dim=3"):
        model(batch()[0])
