"""Models that write over their tensors are explained like the same models written out of place."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import COMPOSITES, LAYERS, Composite, Epsilon, Gamma, composites

NAMED = {name: name for name in COMPOSITES if name not in ("epsilon_gamma_box", "pattern_net", "pattern_attribution")}
EVERY = {
    **NAMED,
    "epsilon_gamma_box": composites.epsilon_gamma_box(-4.0, 4.0),
    "gamma everywhere": [(LAYERS, Gamma())],
    "starting from one": Composite([(LAYERS, Epsilon())], seed="one"),
}


def relu_(h):
    return F.relu(h, inplace=True)


def silu_(h):
    return F.silu(h, inplace=True)


def tanh_(h):
    return h.tanh_()


def add_(h):
    kept = h * 2
    h += kept
    return h


def add_the_same_(h):
    h += h
    return relu_(h)


def residual_then_relu_(h):
    out = h.neg()
    out += h
    return relu_(out)


def mul_(h):
    gate = h.sigmoid()
    h.mul_(gate)
    return h


def mul_by_a_number_(h):
    h *= -1.5
    return h


def div_(h):
    h /= 2.0
    return h


def sub_(h):
    h -= h.roll(1, dims=1)
    return h


def scaled_add_(h):
    h.add_(h.roll(1, dims=1), alpha=0.5)
    return relu_(h)


def part_(h):
    h[..., :2] = h[..., 2:4] * 2
    return h


def masked_(h):
    return h.masked_fill_(h > 1, 0.25)


def negated_view_(h):
    h = h.relu()
    h[..., :2].mul_(-1)
    return h


def norm_then_overwritten_(h):
    normalised = F.layer_norm(h, h.shape[-1:])
    h += normalised
    return h


def pool_then_overwritten_(h):
    pooled = F.avg_pool1d(h, 3, stride=1, padding=1)
    h *= pooled
    return h


def product_then_overwritten_(h):
    product = torch.einsum("bi,bj->bi", h, h)
    h += 1.0
    return h + product


def out_(h):
    buffer = torch.empty_like(h, requires_grad=False)
    torch.mul(h, 2.0, out=buffer)
    return buffer


def written_(h):
    rows = torch.zeros(2, *h.shape, dtype=h.dtype)
    rows[0].copy_(h)
    rows[1, :, :3] += h[:, :3] * 2
    return rows.sum(0)


def dropout_(h):
    return F.dropout(h, 0.5, False, True)


OUT_OF_PLACE = {
    relu_: F.relu,
    silu_: F.silu,
    tanh_: torch.tanh,
    add_: lambda h: h + h * 2,
    add_the_same_: lambda h: F.relu(h + h),
    residual_then_relu_: lambda h: F.relu(h.neg() + h),
    mul_: lambda h: h * h.sigmoid(),
    mul_by_a_number_: lambda h: h * -1.5,
    div_: lambda h: h / 2.0,
    sub_: lambda h: h - h.roll(1, dims=1),
    scaled_add_: lambda h: F.relu(torch.add(h, h.roll(1, dims=1), alpha=0.5)),
    part_: lambda h: torch.cat([h[..., 2:4] * 2, h[..., 2:]], -1),
    masked_: lambda h: h.masked_fill(h > 1, 0.25),
    negated_view_: lambda h: torch.cat([h.relu()[..., :2] * -1, h.relu()[..., 2:]], -1),
    norm_then_overwritten_: lambda h: h + F.layer_norm(h, h.shape[-1:]),
    pool_then_overwritten_: lambda h: h * F.avg_pool1d(h, 3, stride=1, padding=1),
    product_then_overwritten_: lambda h: (h + 1.0) + torch.einsum("bi,bj->bi", h, h),
    out_: lambda h: torch.mul(h, 2.0),
    dropout_: lambda h: h,
    written_: lambda h: torch.stack([h, F.pad(torch.zeros(3, 3).double() + h[:, :3] * 2, (0, 3))]).sum(0),
}


REFUSED_BY_AUTOGRAD = {negated_view_, norm_then_overwritten_, pool_then_overwritten_, product_then_overwritten_}
"""Written so, a model has no gradient in torch; it has relevances."""
GRADIENTS = {"gradient", "guided_backprop", "deconvnet", "beta_smooth"}


class Network(nn.Module):
    """A convolution, a linear layer and a head, with ``between`` after the linear layer and on the input."""

    def __init__(self, between, on_input=False):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(2, 3, 3, padding=1)
        self.linear = nn.Linear(18, 6)
        self.head = nn.Linear(6, 3)
        self.between, self.on_input = between, on_input
        self.double()

    def forward(self, x):
        x = self.between(x.flatten(1)).view_as(x) if self.on_input else x
        return self.head(self.between(self.linear(F.relu(self.convolution(x)).flatten(1))))


def example():
    torch.manual_seed(1)
    return torch.randn(3, 2, 6, dtype=torch.float64)


@pytest.mark.parametrize("composite", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("overwriting", OUT_OF_PLACE, ids=lambda function: function.__name__)
def test_in_place_is_explained_as_out_of_place(overwriting, composite):
    x = example()
    lrp = altprop.LRP(Network(overwriting), composite)
    kept_by_autograd = lrp.composite.name in ({"gradient"} if overwriting is negated_view_ else GRADIENTS)
    if overwriting in REFUSED_BY_AUTOGRAD and kept_by_autograd:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            lrp.attribute(x, target=1)
        return
    expected = altprop.LRP(Network(OUT_OF_PLACE[overwriting]), composite).attribute(x, target=1)
    torch.testing.assert_close(lrp.attribute(x, target=1), expected)


@pytest.mark.parametrize("overwriting", [relu_, add_, mul_by_a_number_, part_], ids=lambda function: function.__name__)
def test_the_callers_input_is_left_alone(overwriting):
    x = example()
    before = x.clone()
    model = Network(overwriting, on_input=True)
    found = altprop.LRP(model, "epsilon").attribute(x, target=1)
    assert x.equal(before) and not x.requires_grad
    plain = Network(OUT_OF_PLACE[overwriting], on_input=True)
    torch.testing.assert_close(found, altprop.LRP(plain, "epsilon").attribute(x, target=1))


def selected_relu_(h):
    h[:, 1:].relu_()
    return h


@pytest.mark.parametrize("composite", EVERY.values(), ids=EVERY)
def test_what_is_overwritten_through_a_view_is_explained_as_out_of_place(composite):
    plain = Network(lambda h: torch.cat([h[:, :1], h[:, 1:].relu()], 1))
    found, expected = (altprop.LRP(m, composite).attribute(example(), 1) for m in (Network(selected_relu_), plain))
    torch.testing.assert_close(found, expected)


class TokensPlusPositions(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(5, 4), nn.Linear(4, 2)
        self.positions = nn.Parameter(torch.randn(3, 4))
        self.in_place = in_place

    def forward(self, ids):
        x = self.tokens(ids)
        if self.in_place:
            x += self.positions
        else:
            x = x + self.positions
        return self.head(x.sum(1))


def test_embedded_tokens_may_be_overwritten():
    ids = torch.tensor([[0, 2, 4], [1, 1, 3]])
    found, expected = (altprop.LRP(TokensPlusPositions(way), "epsilon").attribute(ids) for way in (True, False))
    torch.testing.assert_close(found, expected)


class Remembers(nn.Module):
    """Writes its activations into a buffer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("last", torch.zeros(4, 2))

    def forward(self, x):
        self.last.copy_(self.linear(x))
        return self.last * 1.0


def test_buffers_that_hold_activations_are_no_part_of_a_graph_afterwards():
    model, x = Remembers(), torch.randn(4, 3)
    plain = altprop.LRP(model.linear, "epsilon").attribute(x, target=0)
    for _ in range(2):
        torch.testing.assert_close(altprop.LRP(model, "epsilon").attribute(x, target=0), plain)
        assert not model.last.requires_grad
