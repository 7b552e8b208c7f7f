"""Under LFP a weight is what is computed from parameters alone, and learns by |w| times its gradient."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import altprop
from tests.rules.test_lfp import attach_quietly


class Net(nn.Module):
    """last(f(first(x))); f has parameters ``w``, (8, 8), and ``v``, (8,)."""

    def __init__(self, f):
        super().__init__()
        torch.manual_seed(0)
        self.f, self.first, self.last = f, nn.Linear(6, 8), nn.Linear(8, 3)
        self.w, self.v = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8))
        self.register_buffer("mask", (torch.rand(8, 8) < 0.7).double())

    def forward(self, x):
        return self.last(self.f(self, self.first(x)))


def batch():
    torch.manual_seed(1)
    return torch.randn(5, 6, dtype=torch.float64), torch.randint(3, (5,))


def gradients(model, rule=None):
    model, (x, y) = copy.deepcopy(model), batch()
    if rule:
        attach_quietly(rule, model)
    F.cross_entropy(model(x), y).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, n=name: f"{n}: {text}", **tolerance)


MASK = torch.ones(8, 8, dtype=torch.float64).tril()
FORMS = {
    "h @ w": lambda m, h: h @ m.w,
    "h @ w.T": lambda m, h: h @ m.w.T,
    "mT": lambda m, h: h @ m.w.mT,
    "by name": lambda m, h: F.linear(h, weight=m.w),
    "all by name": lambda m, h: F.linear(input=h, weight=m.w, bias=m.v),
    "masked by a buffer": lambda m, h: F.linear(h, m.w * m.mask),
    "masked by a constant": lambda m, h: F.linear(h, m.w * MASK),
    "masked in place": lambda m, h: F.linear(h, m.w.clone().mul_(MASK)),
    "gamma.view": lambda m, h: h * m.v.view(1, -1),
    "gamma / 2": lambda m, h: h * (m.v / 2)[None],
    "divided": lambda m, h: h / m.v.reshape(1, -1),
    "addmm": lambda m, h: torch.addmm(m.v, h, m.w.t()),
    "addmm by name": lambda m, h: torch.addmm(input=m.v, mat1=h, mat2=m.w),
    "einsum": lambda m, h: torch.einsum("bi,oi->bo", h, m.w.flip(0)),
    "einsum of a list": lambda m, h: torch.einsum("bi,oi->bo", [h, m.w.flip(0)]),
    "matmul with a transposed": lambda m, h: torch.matmul(m.w.t()[None], h[:, :, None]).squeeze(-1),
    "bmm by name": lambda m, h: torch.bmm(h[None], mat2=m.w[None])[0],
    "addcmul": lambda m, h: torch.addcmul(h, h, m.v[None].neg()),
    "a list of rows": lambda m, h: F.linear(h, torch.stack(list(m.w))),
    "flipped kernel": lambda m, h: F.conv1d(h[:, None], m.w[:1, None, :3].flip(2), padding=1)[:, 0],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_update_is_the_gradient_times_the_magnitude(form):
    model = Net(FORMS[form]).double()
    parameters = dict(model.named_parameters())
    expected = {name: parameters[name].detach().abs() * g for name, g in gradients(model).items()}
    assert_same(gradients(model, altprop.LFP(epsilon=0, strict=True)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epsilon", [1e-6, 0.3])
def test_the_form_of_a_weight_does_not_matter(epsilon):
    rule = altprop.LFP(epsilon)
    plain = gradients(Net(lambda m, h: F.linear(h, m.w, m.v).tanh()).double(), rule)
    for form in (
        lambda m, h: torch.addmm(m.v, h, m.w.T).tanh(),
        lambda m, h: F.linear(h, torch.cat([m.w[:4], m.w[4:]]), m.v.view(8)).tanh(),
    ):
        assert_same(gradients(Net(form).double(), rule), plain)


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.randn(2, 6))

    def forward(self, x):
        return F.linear(x, self.a @ self.b)


def test_factors_of_a_weight_each_get_all_of_the_credit():
    """LoRA's product is a weight: neither factor takes half."""
    model = nn.Sequential(LowRank(), nn.ReLU(), nn.Linear(8, 3)).double()
    parameters = dict(model.named_parameters())
    expected = {name: parameters[name].detach().abs() * g for name, g in gradients(model).items()}
    assert_same(gradients(model, altprop.LFP(epsilon=0)), expected)


def test_a_weight_with_an_activation_of_its_own_keeps_its_gradient():
    """A = −exp(log A), as in state space models; the secant would be another."""
    model = Net(lambda m, h: h * -torch.exp(m.v)).double()
    parameters = dict(model.named_parameters())
    expected = {name: parameters[name].detach().abs() * g for name, g in gradients(model).items()}
    assert_same(gradients(model, altprop.LFP(epsilon=0)), expected)


def test_weight_norm_is_a_weight():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    nn.utils.parametrizations.weight_norm(model[0])
    parameters = dict(model.named_parameters())
    expected = {name: parameters[name].detach().abs() * g for name, g in gradients(model).items()}
    assert_same(gradients(model, altprop.LFP(epsilon=0)), expected)


class Hyper(nn.Module):
    """The weight of the second layer depends on the input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8, bias=False), nn.Linear(6, 24, bias=False)

    def forward(self, x):
        return F.linear(self.first(x), self.second(x).mean(0).view(3, 8))


def test_a_weight_that_depends_on_the_input_is_an_activation_and_takes_half():
    model = Hyper().double()
    parameters = dict(model.named_parameters())
    expected = {name: parameters[name].detach().abs() * g / 2 for name, g in gradients(model).items()}
    assert_same(gradients(model, altprop.LFP(epsilon=0)), expected)


class Queries(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.keys, self.values = nn.Parameter(torch.randn(4, 8)), nn.Linear(6, 8), nn.Linear(6, 8)
        self.inner, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        attended = F.scaled_dot_product_attention(self.inner(self.q)[None], self.keys(x)[None], self.values(x)[None])
        return self.last(attended[0].mean(0, keepdim=True).expand(len(x), -1))


def test_learned_queries_take_nothing_of_the_product():
    """Credit is halved between keys and values alone; the queries' parameters learn from what reaches the scores."""
    model = Queries().double()
    parameters = dict(model.named_parameters())
    half = {name: parameters[name].detach().abs() * g / 2 for name, g in gradients(model).items()}
    found = gradients(model, altprop.LFP(epsilon=0))
    for name in ("values.weight", "keys.weight"):
        torch.testing.assert_close(found[name], half[name])
    assert found["q"].any()


@pytest.mark.parametrize("constant", [("q", "k"), ("k",), ("v",)])
def test_attention_gives_constants_nothing(constant):
    class Attention(nn.Module):
        def forward(self, x):
            fixed = torch.arange(40.0, dtype=torch.float64).view(1, 5, 8) / 40
            q, k, v = (fixed if name in constant else part for name, part in zip("qkv", x.split(8, -1), strict=True))
            return F.scaled_dot_product_attention(q, k, v)

    torch.manual_seed(0)
    x = torch.randn(1, 5, 24, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1, 5, 8, dtype=torch.float64)
    plain = torch.autograd.grad(Attention()(x), x, g)[0]
    with altprop.LFP(epsilon=0).attach(Attention()) as attachment:
        found = torch.autograd.grad(attachment.model(x), x, g)[0]
    parts = {("q", "k"): (0, 0, 1), ("k",): (0.5, 0, 0.5), ("v",): (0.5, 0.5, 0)}[constant]
    expected = torch.cat([p * one for p, one in zip(parts, plain.split(8, -1), strict=True)], -1)
    torch.testing.assert_close(found, expected)


def test_a_parameter_as_the_models_input_is_an_input():
    """An image that is optimised: no |x| on its gradient."""
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
    x = nn.Parameter(batch()[0])
    expected = torch.autograd.grad(model(x).sum(), x)[0]
    with altprop.LFP(epsilon=0).attach(model):
        found = torch.autograd.grad(model(x).sum(), x)[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("steps", [1, 3])
def test_fast_weights_of_an_inner_loop_are_weights(steps):
    model, (x, y) = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double(), batch()
    plain, fast = copy.deepcopy(model), dict(model.named_parameters())

    def step(m, w):
        loss = F.cross_entropy(functional_call(m, w, (x,)), y)
        return dict(zip(w, torch.autograd.grad(loss, list(w.values()), create_graph=m is model), strict=True))

    with altprop.LFP(epsilon=0).attach(model):
        for _ in range(steps):
            fast = {name: w - 0.1 * g for (name, w), g in zip(fast.items(), step(model, fast).values(), strict=True)}
        found = step(model, fast)
    leaves = {name: value.detach().requires_grad_() for name, value in fast.items()}
    expected = {name: leaves[name].detach().abs() * g for name, g in step(plain, leaves).items()}
    assert_same(found, expected)


class Picked(nn.Module):
    def __init__(self, look_up):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.look_up = nn.Embedding(7, 6), look_up

    def forward(self, ids):
        return self.look_up(self.table.weight, ids)


@pytest.mark.parametrize("epsilon", [0, 0.3])
def test_rows_picked_by_the_input_are_an_embedding(epsilon):
    ids, found = torch.tensor([[1, 2], [2, 5]]), []
    for look_up in (
        lambda w, ids: F.embedding(ids, w),
        lambda w, ids: w[ids],
        lambda w, ids: F.embedding(input=ids, weight=w),
        lambda w, ids: w.index_select(0, ids.flatten()).view(2, 2, -1),
    ):
        model = Picked(look_up).double()
        with altprop.LFP(epsilon).attach(model):
            model(ids).square().sum().backward()
        found.append(model.table.weight.grad)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize("prepare", [
    lambda x: x / 2, lambda x: x.detach(), lambda x: torch.from_numpy(x.numpy()), lambda x: x.flatten(1),
])  # fmt: skip
def test_data_stay_data_however_they_are_prepared(prepare):
    class Prepared(Net):
        def forward(self, x):
            with torch.no_grad():
                x = prepare(x)
            return super().forward(x)

    found = gradients(Prepared(lambda m, h: h.tanh() * (h @ m.w)).double(), altprop.LFP(0.3))
    x = prepare(batch()[0])
    model = Net(lambda m, h: h.tanh() * (h @ m.w)).double()
    with altprop.LFP(0.3).attach(model):
        F.cross_entropy(model(x), batch()[1]).backward()
    assert_same(found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
