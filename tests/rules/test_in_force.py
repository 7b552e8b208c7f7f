"""Where a direct rule is not in force it says so: parametrised layers, parts called by themselves, checkpointing."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

import altprop
from tests.rules.test_direct import attach_quietly

RULES = [altprop.DFA(seed=0), altprop.DRTP(seed=0), altprop.LocalLoss(seed=0), altprop.Shallow()]


@pytest.fixture(params=RULES, ids=repr)
def rule(request):
    return request.param


def batch():
    torch.manual_seed(1)
    return torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 3


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def updates(rule, model, x, y, call=None):
    if rule:
        attach_quietly(rule, model)
    with altprop.targets(y):
        F.cross_entropy((call or type(model).__call__)(model, x), y).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: name + text)


class Halved(nn.Module):
    """A parametrization with a matrix of its own that is no layer of the network."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False).double()

    def forward(self, weight):
        return self.scale(weight.unsqueeze(-1)).squeeze(-1)


def with_old_spectral_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.spectral_norm(layer)


PARAMETRISED = {
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer.eval()),
    "own": lambda layer: parametrize.register_parametrization(layer, "weight", Halved()),
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
    "old": with_old_spectral_norm,
}


@pytest.mark.parametrize("name", PARAMETRISED)
def test_parametrised_layers_learn_as_their_weights_do(name, rule):
    """The update of w is that of the plain network; from it to the parameters it goes as by backprop."""
    model, (x, y) = mlp(), batch()
    for place in (0, 2, 4):
        PARAMETRISED[name](model[place])
    model.eval()
    with torch.no_grad():
        model(x)  # some of them make the weight as they run
    plain = mlp()
    for place in (0, 2, 4):
        plain[place].load_state_dict({"weight": model[place].weight.detach(), "bias": model[place].bias.detach()})
    of_weights = updates(rule, plain, x, y)
    found = updates(rule, model, x, y)
    altprop.Attachment.of(model).remove()
    model.zero_grad()
    model(x)
    for place in (0, 2, 4):
        if f"{place}.weight" in of_weights:
            model[place].weight.backward(of_weights[f"{place}.weight"], retain_graph=True)
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    expected |= {n: g for n, g in of_weights.items() if n.endswith("bias")}
    assert_same({n: g for n, g in found.items() if n in expected}, expected)
    assert found.keys() == expected.keys()


class Training(nn.Module):
    """As a Lightning module: the training step calls what it holds."""

    def __init__(self, net):
        super().__init__()
        self.net, self.loss = net, nn.CrossEntropyLoss()

    def training_step(self, x):
        return self.net(x)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_submodule_that_holds_all_layers_may_be_called_instead(rule, depth):
    x, y = batch()
    expected = updates(rule, mlp(), x, y)
    model, prefix = Training(mlp()), "net."
    if depth == 2:
        model, prefix = Training(model), "net.net."
    found = updates(rule, model, x, y, lambda m, x: m.training_step(x) if depth == 1 else m.net.training_step(x))
    if rule.__class__ is altprop.DFA:  # the names of the layers are others, and so are the projections
        names = {name.removeprefix(prefix) for name in found}
        assert names == expected.keys()
        assert not torch.equal(found[prefix + "0.weight"], updates(None, mlp(), x, y)["0.weight"])
        return
    if isinstance(rule, altprop.Shallow):
        assert_same({name.removeprefix(prefix): g for name, g in found.items()}, expected)
    assert {name.removeprefix(prefix) for name in found} == expected.keys()


def test_called_within_or_by_the_whole_it_is_the_same(rule):
    class Module(Training):
        def forward(self, x):
            return self.net(x)

    x, y = batch()
    found = updates(rule, Module(mlp()), x, y, lambda m, x: m.training_step(x))
    assert_same(found, updates(rule, Module(mlp()), x, y))


def test_copies_and_removal_of_a_module_whose_part_is_called(rule):
    x, y = batch()
    model = Training(mlp())
    attachment = attach_quietly(rule, model)
    step = lambda m, x: m.training_step(x)  # noqa: E731
    with altprop.targets(y):
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = updates(None, model, x, y, step)
    for other in copies:
        assert_same(updates(None, other, x, y, step), expected)
        altprop.Attachment.of(other).remove()
        assert type(other.net) is nn.Sequential
    attachment.remove()
    assert type(model.net) is nn.Sequential
    assert not [name for module in model.modules() for name in vars(module) if "altprop" in name]


def test_parts_that_are_called_one_by_one_are_told_once(rule):
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            net = mlp()
            self.encoder, self.head = net[:4], net[4]

        def forward(self, x):
            return self.head(self.encoder(x))

    model, x = Parts(), batch()[0]
    attach_quietly(rule, model)
    with pytest.warns(UserWarning, match="not in force: the layer 'encoder.0' runs outside the forward pass") as told:
        for _ in range(2):
            model.head(model.encoder(x))
    assert len(told) == 1
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        altprop.Attachment.of(model).warned.clear()
        model.head(model.encoder(x))


class Tied(nn.Module):
    """Words to words by one matrix, as language models have it."""

    def __init__(self):
        super().__init__()
        self.embed, self.hidden = nn.Embedding(9, 8), nn.Linear(8, 8)

    def forward(self, x):
        return F.linear(torch.tanh(self.hidden(self.embed(x))), self.embed.weight)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return F.linear(torch.tanh(F.linear(x, self.a.weight)), self.b.weight)


class OfTheParent(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.v = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(8, 3))

    def forward(self, x):
        return torch.tanh(x @ self.w) @ self.v


class HalfOfTheParent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.v = nn.Linear(6, 8), nn.Parameter(torch.randn(8, 3))

    def forward(self, x):
        return torch.tanh(self.a(x)) @ self.v


@pytest.mark.parametrize(
    ("model", "weight"), [(Tied, "embed.weight"), (Functional, "b.weight"), (OfTheParent, "v"), (HalfOfTheParent, "v")]
)
def test_weights_that_are_used_without_their_layer_are_told_once(model, weight, rule):
    model, (x, y) = model(), batch()
    x = torch.randint(9, (16, 5)) if isinstance(model, Tied) else x.float()
    y = torch.randint(8, (16, 5)) if isinstance(model, Tied) else y
    attach_quietly(rule, model)
    with altprop.targets(y), pytest.warns(UserWarning, match=f"does not cut the network before {weight}") as told:
        for _ in range(2):
            model(x)
    assert len(told) == 1


class WellCut(nn.Module):
    """Attention, a recurrent layer, a prompt before the first layer, and a residual stream."""

    def __init__(self):
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(1, 5, 6))
        self.a, self.attend = nn.Linear(6, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.recur, self.norm, self.last = nn.LSTM(8, 8, batch_first=True), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.a(x + self.prompt)
        h = h + self.attend(n := self.norm(h), n, n)[0]
        return self.last(self.recur(torch.tanh(h))[0])


def test_a_network_that_is_cut_everywhere_is_told_nothing(rule):
    model, x, y = WellCut(), torch.randn(4, 5, 6), torch.randint(3, (4, 5))
    with attach_quietly(rule, model), altprop.targets(y), warnings.catch_warnings():
        warnings.simplefilter("error")
        model(x)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        net = mlp()
        self.first, self.block, self.last, self.reentrant = net[0], net[1:4], net[4], reentrant

    def forward(self, x):
        return self.last(checkpoint(self.block, self.first(x), use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_a_part_is_refused(rule, reentrant):
    model, (x, y) = Checkpointed(reentrant), batch()
    with pytest.raises(RuntimeError, match="activation checkpointing"):
        updates(rule, model, x, y)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_the_whole_is_the_same_as_without(rule, reentrant):
    x, y = batch()
    x.requires_grad_()
    expected = updates(rule, mlp(), x, y)
    with altprop.targets(y):
        found = updates(rule, mlp(), x, y, lambda m, x: checkpoint(m, x, use_reentrant=reentrant))
    assert_same(found, expected)


def test_data_parallel_replicas_are_refused(rule):
    model, (x, y) = mlp(), batch()
    attach_quietly(rule, model)
    replica = model._replicate_for_data_parallel()
    with altprop.targets(y), pytest.raises(RuntimeError, match="DataParallel"):
        replica(x)


def test_transforms_and_traces_are_refused_in_words(rule):
    model, (x, y) = mlp(), batch()
    attach_quietly(rule, model)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(w, x, y):
        return F.cross_entropy(torch.func.functional_call(model, w, (x[None],)), y[None])

    with altprop.targets(y):
        with pytest.raises(RuntimeError, match=r"torch\.func"):
            torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, x, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated
            with pytest.raises(RuntimeError, match=r"torch\.jit\.trace"):
                torch.jit.trace(model, (x,), check_trace=False)


def test_weights_may_be_exchanged_for_a_call(rule):
    model, (x, y) = mlp(), batch()
    expected = updates(rule, mlp(), x, y)
    attach_quietly(rule, model)
    weights = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    with altprop.targets(y):
        F.cross_entropy(torch.func.functional_call(model, weights, (x,)), y).backward()
    assert_same({name: w.grad for name, w in weights.items() if w.grad is not None}, expected)


def test_layers_that_are_put_in_after_attaching_are_told_of(rule):
    model = mlp()
    with rule.attach(model):
        with pytest.warns(UserWarning, match=r"before these layers were put into the model: 2\.1\. They keep backprop"):
            model[2] = nn.Sequential(nn.Identity(), nn.Linear(8, 8))
        model[0] = model[0]
        model[1] = nn.Tanh()
        parametrizations.weight_norm(model[4])
    model[2] = nn.Linear(8, 8)


def test_with_named_blocks_those_alone_are_told_of():
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(3)))
    with altprop.DFA(seed=0, blocks=["1", "2"]).attach(model):
        model[1][0] = nn.Linear(4, 4)
        model[0] = nn.Linear(4, 4)
        with pytest.warns(UserWarning, match="put into the model: 2. They"):
            model[2] = nn.Linear(4, 4)
