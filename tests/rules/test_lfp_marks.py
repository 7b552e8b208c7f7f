"""LFP's deferred factor reaches every tensor once: through hooks, functions and containers, in place and out."""

import copy
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import altprop
from altprop.ops.lfp.credit import _scalar, secant_denominator
from tests.identities import IDENTITIES, Apply, Held, script
from tests.rules.test_lfp_weights import assert_same, batch

EPSILON = 0.3


class Net(nn.Module):
    """last(act(f(first(x))))."""

    def __init__(self, f, act=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.f, self.act, self.first, self.last = f, act, nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.act(self.f(self.first(x))))


def updates(model, read=lambda output: output, epsilon=EPSILON):
    model, (x, y) = copy.deepcopy(model).double(), batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with altprop.LFP(epsilon).attach(model):
            first, _, later = (gradients(model, lambda: F.cross_entropy(read(model(x)), y)) for _ in range(3))
    assert_same(first, later)
    return later


def gradients(model, loss):
    model.zero_grad()
    loss().backward()
    return {name: p.grad for name, p in model.named_parameters()}


class Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone(), 2 * x

    @staticmethod
    def backward(ctx, g, h):
        return g


@pytest.mark.parametrize("act", [torch.tanh, torch.relu, F.gelu, lambda x: x])
@pytest.mark.parametrize("identity", [*IDENTITIES.values(), lambda x: x.add_(0)], ids=[*IDENTITIES, "+= 0"])
def test_an_identity_changes_nothing(identity, act):
    assert_same(updates(Net(Apply(identity), act)), updates(Net(lambda x: x, act)))


def test_a_hook_that_does_nothing_on_every_module_changes_nothing():
    plain = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    model, (x, y) = plain.double(), batch()
    found = []
    for hooked in (False, True):
        each = copy.deepcopy(model)
        for module in each.modules() if hooked else ():
            module.register_full_backward_hook(lambda *_: None)
            module.register_full_backward_pre_hook(lambda *_: None)
        with altprop.LFP(EPSILON, strict=True).attach(each):
            for _ in range(2):
                taken = x[:, None].clone().requires_grad_()
                found.append(gradients(each, lambda each=each, taken=taken: F.cross_entropy(each(taken), y)))
    for each in found[1:]:
        assert_same(found[0], each)


def test_unseen_code_that_comes_after_the_first_pass_is_seen_through():
    """Hooks and functions that were not there in the first pass; a state that the model keeps from pass to pass."""
    model, (x, y) = Net(lambda h: h).double(), batch()
    expected = updates(Net(Cube.apply))
    with warnings.catch_warnings(), altprop.LFP(EPSILON).attach(model):
        warnings.simplefilter("ignore")
        plain = [gradients(model, lambda: F.cross_entropy(model(x), y)) for _ in range(2)]
        model.first.register_full_backward_hook(lambda *_: None)
        hooked = gradients(model, lambda: F.cross_entropy(model(x), y))
        model.f = Cube.apply
        cubed = [gradients(model, lambda: F.cross_entropy(model(x), y)) for _ in range(2)]
    assert_same(plain[0], hooked)
    for each in cubed:
        assert_same(expected, each)


class Remembering(nn.Module):
    """tanh(W x + U h), where h is what the last call returned, through ``f``."""

    def __init__(self, f):
        super().__init__()
        torch.manual_seed(0)
        self.f, self.w, self.u, self.h = f, nn.Linear(6, 8), nn.Linear(8, 8), None

    def forward(self, x):
        h = torch.zeros(len(x), 8, dtype=x.dtype) if self.h is None else self.f(self.h)
        self.h = torch.relu(self.w(x) + self.u(h))
        return self.h


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES)
def test_a_state_kept_from_call_to_call_may_go_through_an_unseen_identity(identity, times):
    found = []
    for f in (identity, lambda h: h):
        model, (x, _) = Remembering(f).double(), batch()
        with warnings.catch_warnings(), altprop.LFP(EPSILON).attach(model):
            warnings.simplefilter("ignore")
            for _ in range(2):
                model.h = None
                found.append(gradients(model, lambda m=model, x=x: sum(m(x).square().sum() for _ in range(times))))
    for each in found[1:]:
        assert_same(found[0], each)


def test_the_factor_is_applied_to_what_an_unseen_function_hands_back():
    """h³ by a Function between two layers: g·3h² times |h| / (|h| + ε) at the layer below."""
    model, (x, y) = Net(Cube.apply, lambda x: x).double(), batch()
    found = updates(model)
    h = model.first(x).detach()
    z = model.last(h**3).detach()
    g = (z.softmax(1) - F.one_hot(y, 3)) / 5 * z.abs() / (z.abs() + EPSILON)
    back = g @ model.last.weight.detach() * 3 * h**2 * h.abs() / (h.abs() + EPSILON)
    torch.testing.assert_close(found["first.weight"], model.first.weight.detach().abs() * (back.T @ x))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.save_for_backward(h)
        return h**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


@script
def script_of_a_cube(x: Tensor) -> Tensor:
    return x * x * x


def scripted_cube(x):
    return script_of_a_cube(x)


def test_scripted_code_is_seen_through_like_a_function():
    assert_same(updates(Net(scripted_cube)), updates(Net(Cube.apply)))


@pytest.mark.parametrize("unseen", [Cube.apply, scripted_cube, lambda x: Pair.apply(x)[0] + Pair.apply(x)[1]])
def test_what_no_rule_sees_is_named_once_and_an_error_under_strict(unseen):
    model, (x, _) = Net(unseen).double(), batch()
    with altprop.LFP().attach(model), pytest.warns(UserWarning, match="no rule for") as heard:
        model(x)
        model(x)
    assert len(heard) == 1
    assert any(word in str(heard[0].message) for word in ("Cube", "Pair", "torch.jit.script"))
    with altprop.LFP(strict=True).attach(model), pytest.raises(RuntimeError, match="no rule for"):
        model(x)
    assert altprop.inspect(model, x, altprop.LFP()).unknown


class Output(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.wrap = nn.Linear(6, 8), nn.Linear(8, 3), wrap

    def forward(self, x):
        return self.wrap(self.last(self.first(x).tanh()))


class Slots:
    def __init__(self, value):
        self.value = value


CONTAINERS = {
    "dataclass": (Held, lambda o: o.value),
    "namespace": (lambda z: SimpleNamespace(value=z), lambda o: o.value),
    "object": (Slots, lambda o: o.value),
    "nested": (lambda z: {"a": [Held((z,))]}, lambda o: o["a"][0].value[0]),
    "closure": (lambda z: lambda: z, lambda o: o()),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_output_may_be_in_any_container(name):
    wrap, read = CONTAINERS[name]
    assert_same(updates(Output(wrap), read), updates(Output(lambda z: z)))


class Features(nn.Module):
    """Returns the features, which it has used itself, and the logits."""

    def __init__(self, hold):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.hold = nn.Linear(6, 8), nn.Linear(8, 3), hold

    def forward(self, x):
        h = self.first(x)
        return self.hold(h, self.last(h))


@pytest.mark.parametrize(
    ("hold", "read"),
    [
        (lambda h, z: (h, z), lambda o: o),
        (lambda h, z: {"h": h, "z": z}, lambda o: (o["h"], o["z"])),
        (lambda h, z: SimpleNamespace(h=h, z=z), lambda o: (o.h, o.z)),
    ],
)
def test_features_that_are_used_and_returned_get_their_factor_once(hold, read):
    model, (x, _) = Features(hold).double(), batch()
    torch.manual_seed(2)
    to_h, to_z = torch.randn(5, 8).double(), torch.randn(5, 3).double()
    with altprop.LFP(EPSILON).attach(model):
        h, z = read(model(x))
        torch.autograd.backward([h, z], [to_h, to_z])
    h, z = h.detach(), z.detach()
    to_h = to_h + (to_z * z.abs() / (z.abs() + EPSILON)) @ model.last.weight.detach()
    expected = model.first.weight.detach().abs() * ((to_h * h.abs() / (h.abs() + EPSILON)).T @ x)
    torch.testing.assert_close(model.first.weight.grad, expected)


def in_place(name, *args):
    def change(h):
        result = getattr(h, name)(*args)
        assert result is h or name == "__setitem__"
        return h

    return change


def out_of_place(name, *args):
    return lambda h: getattr(h, name)(*args)


UNARY = [
    "exp",
    "square",
    "erf",
    "sin",
    "round",
    "sqrt",
    "reciprocal",
    "tanh",
    "sigmoid",
    "relu",
    "abs",
    "neg",
    "log1p",
    "cumsum",
    "tril",
    "atan",
    "expm1",
    "renorm",
    "clamp",
    "pow",
    "mul",
    "div",
    "sub",
    "add",
]
ARGUMENTS = {"cumsum": (1,), "renorm": (2, 0, 1.0), "clamp": (-0.3, 0.4), "pow": (2,), "mul": (-1.5,), "div": (0.7,),
             "sub": (0.5,), "add": (1.0,)}  # fmt: skip


@pytest.mark.parametrize("epsilon", [1e-6, EPSILON])
@pytest.mark.parametrize("name", UNARY)
def test_in_place_gives_the_updates_of_its_twin(name, epsilon):
    args = ARGUMENTS.get(name, ())
    before = (lambda h: h.abs() + 0.1) if name in {"sqrt", "log1p"} else (lambda h: h)
    twin = Net(lambda h: out_of_place(name, *args)(before(h)))
    assert_same(
        updates(Net(lambda h: in_place(f"{name}_", *args)(before(h))), epsilon=epsilon), updates(twin, epsilon=epsilon)
    )


def divided(h):
    p = h.sigmoid() * h.softmax(1) + h.softmax(1)
    p /= p.sum(1, keepdim=True)
    return p


def divided_twin(h):
    p = h.sigmoid() * h.softmax(1) + h.softmax(1)
    return p / p.sum(1, keepdim=True)


def written(h):
    total = h.sum(1, keepdim=True)
    h[:, :2] = total
    return h


def activated(h):
    total = h.sum(1, keepdim=True)
    h.exp_()
    return h * total


def on_a_view(h):
    total = h.mean()
    h[:, :3].exp_()
    return h + total


def scaled_view(h):
    total = h.sum(1, keepdim=True)
    h[:, 1:] *= total
    return h


def filled(h):
    largest = h.sum(1, keepdim=True)
    h.masked_fill_(h > 0.2, 0.0)
    return h + largest


def swapped(h):
    a, b = h[:, :4], h[:, 4:]
    c = a.clone()
    a.copy_(b.tanh())
    b.copy_(c)
    return h


KEPT = {
    "divided": (divided, divided_twin),
    "written": (written, lambda h: torch.cat([h.sum(1, keepdim=True).expand(-1, 2), h[:, 2:]], 1)),
    "activated": (activated, lambda h: h.exp() * h.sum(1, keepdim=True)),
    "on a view": (on_a_view, lambda h: torch.cat([h[:, :3].exp(), h[:, 3:]], 1) + h.mean()),
    "a view scaled": (scaled_view, lambda h: torch.cat([h[:, :1], h[:, 1:] * h.sum(1, keepdim=True)], 1)),
    "filled": (filled, lambda h: h.masked_fill(h > 0.2, 0.0) + h.sum(1, keepdim=True)),
    "swapped": (swapped, lambda h: torch.cat([h.chunk(2, 1)[1].tanh(), h.chunk(2, 1)[0]], 1)),
}


@pytest.mark.parametrize("epsilon", [1e-6, EPSILON])
@pytest.mark.parametrize("name", KEPT)
def test_what_was_used_may_be_overwritten(name, epsilon):
    change, twin = KEPT[name]
    assert_same(updates(Net(change), epsilon=epsilon), updates(Net(twin), epsilon=epsilon))


class Looked(nn.Module):
    """last(table[i]), where the numbers i are what the first layer gives, rounded by ``number``; or given."""

    def __init__(self, number):
        super().__init__()
        torch.manual_seed(0)
        self.number, self.first, self.table, self.last = number, nn.Linear(6, 1), nn.Embedding(4, 8), nn.Linear(8, 3)

    def forward(self, x, i=None):
        i = self.number(self.first(x).squeeze(1)) if i is None else i
        return self.last(self.table(i))


@pytest.mark.parametrize(
    "number",
    [lambda h: h.to(torch.int64) % 4, lambda h: h.abs().type(torch.int64) % 4, lambda h: h.to(torch.int64).clamp(0, 3)],
    ids=["to", "type", "clamped"],
)
def test_numbers_made_from_an_activation_depend_on_the_input(number):
    """What is looked up by them learns as it does by the same numbers given from outside."""
    model, (x, y) = Looked(number).double(), batch()
    numbers = number(model.first(4 * x).squeeze(1)).detach()
    found = []
    for inputs in ((4 * x,), (4 * x, numbers)):
        with warnings.catch_warnings(), altprop.LFP(EPSILON).attach(model):
            warnings.simplefilter("ignore")
            found += [gradients(model, lambda inputs=inputs: F.cross_entropy(model(*inputs), y)) for _ in range(2)]
    for each in found:
        assert_same(
            {n: g for n, g in each.items() if "first" not in n},
            {n: g for n, g in found[-1].items() if "first" not in n},
        )


def test_the_number_epsilon_is_made_once_and_goes_with_any_default_device():
    _scalar.cache_clear()
    with torch.device("meta"):
        secant_denominator(torch.ones(2, device="cpu"), 0.25)
    assert secant_denominator(torch.tensor([1.0, -1.0, 0.0]), 0.25).tolist() == [1.25, -1.25, 0.25]
