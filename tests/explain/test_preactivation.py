"""An activation at the output: explained is the value before it, whatever lies between the two."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import Composite, Epsilon, Pass, composites
from tests.identities import Same

torch.manual_seed(0)
X = torch.randn(40, 6, dtype=torch.float64)
HEAD = nn.Linear(6, 3, bias=False).double()
ONE = nn.Linear(6, 1, bias=False).double()
TINY = composites.epsilon(1e-12, 1e-12)


class Ends(nn.Module):
    """end(layer(x))."""

    def __init__(self, layer, end):
        super().__init__()
        self.layer, self.end = layer, end

    def forward(self, x):
        return self.end(self.layer(x))


def of_logits(x, weights):
    """x times the gradient of a sum of logits, each with its weight: (batch, 6)."""
    return (x * (weights @ HEAD.weight)).detach()


def one_hot(number, weight=1.0):
    return weight * F.one_hot(torch.tensor(number), 3).double()


ENDS = {
    "softmax": (nn.Softmax(1), 1, one_hot(1)),
    "log_softmax": (nn.LogSoftmax(1), 1, one_hot(1)),
    "log of softmax": (lambda z: torch.log(torch.softmax(z, 1)), 1, one_hot(1)),
    "log of a clamped softmax": (lambda z: torch.softmax(z, 1).clamp(min=1e-9).log(), 1, one_hot(1)),
    "softmax written out": (lambda z: z.exp() / z.exp().sum(1, keepdim=True), 1, one_hot(1)),
    "softmin": (lambda z: F.softmin(z, 1), 1, one_hot(1, -1.0)),
    "temperature": (lambda z: torch.softmax(z / 2.0, 1), 1, one_hot(1, 0.5)),
    "sigmoid": (torch.sigmoid, 2, one_hot(2)),
    "sigmoid in place": (lambda z: z.sigmoid_(), 2, one_hot(2)),
    "logsigmoid": (F.logsigmoid, 2, one_hot(2)),
    "hardsigmoid": (F.hardsigmoid, 2, one_hot(2)),
    "softplus": (F.softplus, 2, one_hot(2)),
    "exp": (torch.exp, 2, one_hot(2)),
    "one less": (lambda z: 1 - torch.sigmoid(z), 2, one_hot(2, -1.0)),
    "negative log": (lambda z: -F.log_softmax(z, 1), 2, one_hot(2, -1.0)),
    "a range": (lambda z: torch.sigmoid(z) * 4.0 + 1.0, 2, one_hot(2, 4.0)),
    "each its factor": (lambda z: torch.sigmoid(z) * torch.tensor([1.0, 2.0, -3.0]).double(), 2, one_hot(2, -3.0)),
    "moved": (lambda z: torch.sigmoid(z).unsqueeze(1).transpose(1, 2), (2, 0), one_hot(2)),
    "flipped": (lambda z: torch.softmax(z, 1).flip(1), 0, one_hot(2)),
    "picked": (lambda z: torch.log_softmax(z, 1)[:, [1, 2]], 0, one_hot(1)),
    "both classes": (lambda z: torch.stack([1 - torch.sigmoid(z[:, 0]), torch.sigmoid(z[:, 0])], 1), 0, one_hot(0, -1)),
    "odds": (lambda z: z.log_softmax(1)[:, [0]] - z.log_softmax(1)[:, [1]], 0, one_hot(0) - one_hot(1)),
    "sum of logs": (lambda z: z.log_softmax(1).sum(1, keepdim=True), 0, torch.ones(3).double()),
    "beside logits": (lambda z: torch.cat([torch.sigmoid(z[:, :2]), z[:, 2:]], 1), 1, one_hot(1)),
    "logits beside": (lambda z: torch.cat([torch.sigmoid(z[:, :2]), z[:, 2:]], 1), 2, one_hot(2)),
    "passed by an identity": (lambda z: nn.Identity()(torch.sigmoid(z)).view(-1, 3), 2, one_hot(2)),
}


@pytest.mark.parametrize("end, target, weights", ENDS.values(), ids=ENDS)
def test_the_value_before_the_activation_is_explained(end, target, weights):
    lrp = altprop.LRP(Ends(HEAD, end), TINY, strict=True)
    R, delta = lrp.attribute(X, target, return_convergence_delta=True)
    right = of_logits(X, weights)
    torch.testing.assert_close(R, right)
    torch.testing.assert_close(delta, torch.zeros_like(delta), atol=1e-6, rtol=0)
    books = lrp.conservation(X, target)
    assert books.explained == pytest.approx(float(right.sum()))
    assert books.reached == pytest.approx(books.explained)


KEPT = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "clamp": lambda z: z.clamp(-1, 1),
    "product": lambda z: torch.sigmoid(z) * z,
    "layer behind": lambda z: torch.sigmoid(z) @ torch.eye(3).double(),
    "sum with logits": lambda z: torch.sigmoid(z) + z,
    "a mean of probabilities": lambda z: torch.sigmoid(z).mean(1, keepdim=True),
}


@pytest.mark.parametrize("end", KEPT.values(), ids=KEPT)
def test_what_keeps_the_sign_or_is_mixed_is_explained_as_it_is(end):
    model = Ends(HEAD, end)
    books = altprop.LRP(model, TINY).conservation(X, 0)
    assert books.explained == pytest.approx(float(model(X)[:, 0].detach().sum()))


@pytest.mark.parametrize("shape", ["(batch, 1)", "(batch)"])
@pytest.mark.parametrize("end", [torch.sigmoid, F.logsigmoid])
def test_a_binary_head_is_explained_by_its_logit(end, shape):
    model = Ends(ONE, end if shape == "(batch, 1)" else lambda z: end(z).squeeze(1))
    R, delta = altprop.LRP(model, TINY).attribute(X, return_convergence_delta=True)
    torch.testing.assert_close(R, (X * ONE.weight).detach())
    torch.testing.assert_close(delta, torch.zeros(40).double(), atol=1e-6, rtol=0)


def test_hooks_and_identities_change_nothing():
    model = nn.Sequential(HEAD, nn.Sigmoid(), nn.Flatten())
    right = of_logits(X, one_hot(1))
    handles = [module.register_full_backward_hook(lambda *_: None) for module in model.modules()]
    torch.testing.assert_close(altprop.LRP(model, TINY, strict=True).attribute(X, 1), right)
    for handle in handles:
        handle.remove()
    model.append(Ends(nn.Identity(), Same.apply))
    with pytest.warns(UserWarning, match="LRP cannot see into Same, a torch.autograd.Function"):
        torch.testing.assert_close(altprop.LRP(model, TINY).attribute(X, 1), right)


def test_without_a_target_the_largest_output_is_explained():
    found = altprop.LRP(Ends(HEAD, nn.LogSoftmax(1)), TINY).attribute(X)
    torch.testing.assert_close(found, (X * HEAD.weight[HEAD(X).argmax(1)]).detach())


def test_logits_that_a_mask_set_to_minus_infinity_do_no_harm():
    mask = torch.tensor([False, False, True])
    model = Ends(HEAD, lambda z: z.masked_fill(mask, -torch.inf).log_softmax(1)[:, None].squeeze(1))
    torch.testing.assert_close(altprop.LRP(model, TINY).attribute(X, 1), of_logits(X, one_hot(1)))


@pytest.mark.parametrize("name", ["attn_lrp", "cp_lrp"])
def test_language_models_with_log_probabilities(name):
    class Model(nn.Module):
        def __init__(self, end):
            super().__init__()
            self.embed, self.q, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9)
            self.end = end

        def forward(self, ids):
            h = self.embed(ids)
            h = torch.softmax(self.q(h) @ h.transpose(1, 2), -1) @ h
            return self.end(self.head(h))

    torch.manual_seed(0)
    model, ids = Model(nn.Identity()).double(), torch.randint(9, (2, 5))
    right = altprop.LRP(model, name).attribute(ids, (-1, 3))
    for end in (lambda z: z.log_softmax(-1), lambda z: z.softmax(-1)):
        model.end = Ends(nn.Identity(), end)
        torch.testing.assert_close(altprop.LRP(model, name).attribute(ids, (-1, 3)), right)


def test_attention_that_is_constant_may_end_the_model():
    torch.testing.assert_close(
        altprop.LRP(Ends(HEAD, nn.Softmax(1)), "cp_lrp").attribute(X, 1),
        altprop.LRP(HEAD, "cp_lrp").attribute(X, 1),
    )


@pytest.mark.parametrize("composite", [Composite([(nn.Softmax, Pass())]), Composite([("1", Pass())])])
def test_a_rule_of_the_composite_prevails(composite):
    model = nn.Sequential(HEAD, nn.Softmax(1))
    books = altprop.LRP(model, composite).conservation(X, 1)
    assert books.explained == pytest.approx(float(model(X)[:, 1].detach().sum()))


def test_relevance_that_is_given_prevails():
    given = torch.randn(40, 3).double()
    model = nn.Sequential(HEAD, nn.Sigmoid())
    books = altprop.LRP(model, TINY).conservation(X, given)
    assert books.explained == pytest.approx(float(given.sum()))


def test_where_explanations_start_from_one_nothing_changes():
    model = nn.Sequential(HEAD, nn.Sigmoid())
    x = X.clone().requires_grad_()
    gradient = torch.autograd.grad(model(x)[:, 1].sum(), x)[0]
    torch.testing.assert_close(altprop.LRP(model, "gradient").attribute(X, 1), gradient)
    from_one = altprop.LRP(model, Composite([(nn.Linear, Epsilon(1e-12))], seed="one")).attribute(X, 1)
    torch.testing.assert_close(from_one.sum(1), torch.ones(40).double())


def test_modules_behind_the_value_have_its_relevance():
    layers = [HEAD, nn.LogSoftmax(1), nn.Unflatten(1, (3, 1)), nn.Flatten()]
    found = altprop.LRP(nn.Sequential(*layers), TINY).trace(X, 1)
    right = (HEAD(X) * one_hot(1)).detach()
    for name in "013":
        torch.testing.assert_close(found[name], right)
    torch.testing.assert_close(found["2"], right[..., None])


def test_a_hidden_activation_is_explained_by_the_value_before_it():
    model = nn.Sequential(HEAD, nn.Sigmoid(), nn.Linear(3, 2).double())
    found = altprop.LRP(model, TINY).attribute(X, 2, layer="1")
    torch.testing.assert_close(found, of_logits(X, one_hot(2)))


def test_the_relevance_of_weights_is_that_of_the_logits():
    model = nn.Sequential(HEAD, nn.LogSoftmax(1))
    found = altprop.LRP(model, TINY).weight_relevance(X, 1)["0.weight"]
    torch.testing.assert_close(found, (HEAD.weight * one_hot(1)[:, None] * X.sum(0)).detach())
