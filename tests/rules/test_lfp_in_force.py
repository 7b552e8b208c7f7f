"""LFP is in force wherever a module of the attached model is called, or says that it is not; and where it cannot be."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional as F

import altprop
from tests.rules.test_lfp import attach_quietly
from tests.rules.test_lfp_weights import assert_same, batch


def mlp(act=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), act(), nn.Linear(8, 8), act(), nn.Linear(8, 3)).double()


class Training(nn.Module):
    """As a LightningModule: the training step calls a part, and a loss that is a module too."""

    def __init__(self):
        super().__init__()
        self.net, self.loss = mlp(), nn.CrossEntropyLoss()


class Parts(nn.Module):
    def __init__(self, act=nn.Tanh):
        super().__init__()
        torch.manual_seed(0)
        self.enc, self.act, self.head = nn.Sequential(nn.Linear(6, 8), act()), act(), nn.Linear(8, 3)
        self.double()

    def forward(self, x):
        return self.head(self.act(self.enc(x)))


def backward(model, call, rule=None):
    model, (x, y) = copy.deepcopy(model), batch()
    if rule:
        attach_quietly(rule, model)
    F.cross_entropy(call(model, x), y).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_a_part_that_is_called_is_a_pass():
    model, step = Training(), lambda m, x: m.net(x)
    expected = {f"net.{name}": g for name, g in backward(model.net, lambda m, x: m(x), altprop.LFP()).items()}
    assert_same(backward(model, step, altprop.LFP(strict=True)), expected)


def test_parts_called_one_after_another_are_the_whole():
    found = backward(Parts(), lambda m, x: m.head(m.act(m.enc(x))), altprop.LFP(strict=True))
    assert_same(found, backward(Parts(), lambda m, x: m(x), altprop.LFP()), rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_a_module_of_the_model_is_no_part_of_it():
    model, (x, y) = Training(), batch()
    with altprop.LFP(strict=True).attach(model):
        model.loss(model.net(x), y).backward()
    assert_same(
        {name: p.grad for name, p in model.net.named_parameters()},
        backward(model.net, lambda m, x: m(x), altprop.LFP()),
    )


def test_copies_know_their_own_parts():
    model = Training()
    expected = backward(model, lambda m, x: m.net(x), altprop.LFP())
    with altprop.LFP(strict=True).attach(model):
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            (x, y) = batch()
            F.cross_entropy(other.net(x), y).backward()
            assert_same({name: p.grad for name, p in other.named_parameters()}, expected)
            assert model.net[0].weight.grad is None
            altprop.Attachment.of(other).remove()
        alone = copy.deepcopy(model.net)
    F.cross_entropy(alone(batch()[0]), batch()[1]).backward()
    plain = backward(model.net, lambda m, x: m(x))
    assert_same({name: p.grad for name, p in alone.named_parameters()}, plain)


def test_suspended_and_removed_parts_are_plain():
    model, (x, y) = Training(), batch()
    plain = backward(model, lambda m, x: m.net(x))
    attachment = altprop.LFP(strict=True).attach(model)
    with attachment.suspended():
        F.cross_entropy(model.net(x), y).backward()
    assert_same({name: p.grad for name, p in model.named_parameters()}, plain)
    attachment.remove()
    model.zero_grad()
    F.cross_entropy(model.net(x), y).backward()
    assert_same({name: p.grad for name, p in model.named_parameters()}, plain)
    assert all(
        not p._backward_hooks and "_altprop_part" not in vars(m) for m in model.modules() for p in m.parameters()
    )


CALLED_AROUND = {
    "functions": lambda m, x: F.linear(F.linear(x, m[0].weight, m[0].bias).relu(), m[2].weight)[:, :3],
    "operators": lambda m, x: (x @ m[0].weight.T)[:, :3],
}


@pytest.mark.parametrize("name", CALLED_AROUND)
def test_parameters_that_the_rule_never_acted_on_are_named_once(name):
    model, (x, y) = mlp(), batch()
    with altprop.LFP().attach(model):
        with pytest.warns(UserWarning, match=r"never acted on (0|2)\.") as heard:
            F.cross_entropy(CALLED_AROUND[name](model, x), y).backward()
        assert len(heard) == 1
        F.cross_entropy(CALLED_AROUND[name](model, x), y).backward()
    with altprop.LFP(strict=True).attach(model), pytest.raises(RuntimeError, match="never acted on"):
        F.cross_entropy(CALLED_AROUND[name](model, x), y).backward()


def test_forward_called_by_name_runs_its_parts():
    """model.forward(x) goes past the model, not past its layers."""
    found = backward(mlp(), lambda m, x: m.forward(x), altprop.LFP(epsilon=0))
    assert_same(found, backward(mlp(), lambda m, x: m(x), altprop.LFP(epsilon=0)))


def test_weight_decay_in_the_loss_is_no_news():
    model, (x, y) = mlp(), batch()
    with altprop.LFP(strict=True).attach(model):
        loss = F.cross_entropy(model(x), y) + sum(p.square().sum() for p in model.parameters())
        loss.backward()


def test_attached_parameters_can_be_saved_and_have_no_hooks_after_the_first_step():
    model, (x, y) = mlp(), batch()
    with altprop.LFP().attach(model):
        pickle.loads(pickle.dumps(model))
        F.cross_entropy(model(x), y).backward()
        assert not any(p._backward_hooks for p in model.parameters())


class VAE(nn.Module):
    def __init__(self, *, inside, hand_written=True):
        super().__init__()
        torch.manual_seed(0)
        self.e, self.z, self.d = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(3, 6)
        self.inside, self.hand_written = inside, hand_written
        self.double()

    def forward(self, x):
        out = self.z(self.e(x).relu())
        outputs = out, self.d(out[:, :3].tanh())
        return vae_loss(*outputs, x, self.hand_written) if self.inside else outputs


def vae_loss(out, decoded, x, hand_written=True):
    m, v = out[:, :3], out[:, 3:]
    kl = -0.5 * (1 + v - m**2 - v.exp()).sum(1).mean() if hand_written else F.mse_loss(m, torch.zeros_like(m))
    return F.mse_loss(decoded, x) + kl


@pytest.mark.parametrize("epsilon", [1e-6, 0.3])
def test_a_loss_within_the_model_is_a_loss_if_the_output_is_named(epsilon):
    x, found = batch()[0], []
    for inside in (True, False):
        model = VAE(inside=inside)
        with altprop.LFP(epsilon, output="d" if inside else None, strict=True).attach(model):
            out = model(x)
            (out if inside else vae_loss(*out, x)).backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    assert_same(*found)


class Headed(nn.Module):
    """An encoder, a head, and a loss with a temperature; ``used`` says how the head's weights are."""

    def __init__(self, used):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.used = used
        self.double()

    def forward(self, x, y):
        h = self.encoder(x).relu()
        out = self.head(h) if self.used == "called" else F.linear(h, self.head.weight)
        return F.cross_entropy(out, y)


@pytest.mark.parametrize(("used", "told"), [("called", "head.weight, head.bias"), ("as a weight", "head.weight")])
def test_parameters_after_the_named_output_are_told_of_once_and_learn_by_backprop(used, told):
    (x, y), plain = batch(), Headed(used)
    plain(x, y).backward()
    model = Headed(used)
    message = f"after 'encoder' for the loss, and it uses {told}: ordinary"
    with altprop.LFP(output="encoder").attach(model), pytest.warns(UserWarning, match=message) as heard:
        model(x, y).backward()
        model(x, y)
    assert len(heard) == 1
    torch.testing.assert_close(model.head.weight.grad, plain.head.weight.grad)
    with altprop.LFP(output="encoder", strict=True).attach(model), pytest.raises(RuntimeError, match=told):
        model(x, y)


@pytest.mark.parametrize("frozen", [True, False])
def test_nothing_is_told_of_a_loss_without_trained_parameters(frozen):
    (x, y), model = batch(), Headed("called")
    model.head.requires_grad_(not frozen)
    with altprop.LFP(output="encoder" if frozen else "head", strict=True).attach(model):
        model(x, y).backward()


def test_what_looks_like_a_loss_is_told():
    model, x = VAE(inside=True), batch()[0]
    with altprop.LFP().attach(model), pytest.warns(UserWarning, match=r"a loss\?.*LFP\(output=") as heard:
        model(x)
        model(x)
    assert len(heard) == 1
    with altprop.LFP(strict=True).attach(model), pytest.raises(RuntimeError, match="LFP\\(output="):
        model(x)


def test_objectives_of_torch_and_single_outputs_are_not_taken_for_a_hand_written_loss():
    with altprop.LFP(strict=True).attach(VAE(inside=True, hand_written=False)) as attachment:
        attachment.model(batch()[0])
    single = nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)).double()
    with altprop.LFP(strict=True).attach(single):
        assert single(batch()[0][:1])[0].dim() == 0
        F.linear(single(batch()[0][:1]), torch.ones(1, 1, dtype=torch.float64)).backward()


def test_an_output_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no submodule 'decoder', which output= names"):
        altprop.LFP(output="decoder").attach(mlp())


@pytest.mark.parametrize("transform", ["vmap of grad", "grad", "jacrev"])
def test_transforms_of_functions_are_refused_in_a_sentence(transform):
    model, (x, y) = mlp(), batch()
    w = {name: p.detach() for name, p in model.named_parameters()}
    loss = lambda w, a, b: F.cross_entropy(functional_call(model, w, (a[None],)), b[None])  # noqa: E731
    runs = {
        "vmap of grad": lambda: vmap(grad(loss), (None, 0, 0))(w, x, y),
        "grad": lambda: grad(loss)(w, x[0], y[0]),
        "jacrev": lambda: jacrev(model)(x),
    }
    with altprop.LFP().attach(model), pytest.raises(RuntimeError, match=r"LFP\(\) does not work under .* torch\.func"):
        runs[transform]()
    runs[transform]()


def test_tracing_is_refused_in_a_sentence_unless_without_gradients():
    model, (x, _) = mlp(), batch()
    with altprop.LFP().attach(model) as attachment, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match=r"torch\.jit\.trace"):
            torch.jit.trace(model, (x,), check_trace=False)
        with torch.no_grad():
            assert torch.equal(torch.jit.trace(model, (x,))(x), model(x))
        with attachment.suspended():
            torch.jit.trace(model, (x,))
