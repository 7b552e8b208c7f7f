"""Conservation's books: explained is what reached the inputs and what is on a line, wherever constants come in."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop

torch.manual_seed(0)
TOKEN, K, MASK = nn.Parameter(torch.randn(1, 6).double()), torch.randn(2, 6).double(), torch.rand(2, 6) > 0.5


class Net(nn.Module):
    """last(f(first(x)))."""

    def __init__(self, f):
        super().__init__()
        self.f, self.first = f, nn.Linear(6, 6)
        self.last = nn.Linear(f(torch.ones(2, 6)).shape[1], 3)

    def forward(self, x):
        return self.last(self.f(self.first(x)))


def part_overwritten(h):
    h = h.clone()
    h[:, 1] = K[:, 1].to(h)
    return h


def part_filled(h):
    z = K.to(h).clone()
    z[:, :3] = h[:, :3]
    return z


def through_a_view(h):
    h = h * 1.5
    view = h[:, :2]
    view.mul_(K[:, :2].to(h))
    view[:, 0] = 3.0
    return h


def a_view_written(h):
    z = torch.zeros(2, 6).to(h)
    view = z[:, 1:4]
    view.copy_(h[:, :3])
    view[0, 0] = 1.0
    return z


def in_steps(h):
    z = torch.zeros(2, 6).to(h)
    z[:, 0] += h[:, 0]
    z[:, 1] = h[:, 1] * 2
    z[0, :2] = K[0, :2].to(h)
    return z


MOVES = {
    "class token": lambda h: torch.cat([TOKEN.to(h).expand(2, -1), h], 1),
    "stack": lambda h: torch.stack([h, K.to(h)], 1).flatten(1),
    "where": lambda h: torch.where(MASK, h, K.to(h)),
    "masked_fill": lambda h: h.masked_fill(MASK, 2.0),
    "masked_fill_": lambda h: (h * 1.5).masked_fill_(MASK, 1.0),
    "masked_scatter": lambda h: h.masked_scatter(MASK, K.to(h)),
    "pad": lambda h: F.pad(h, (2, 1), value=1.5),
    "scatter": lambda h: K.to(h).scatter(1, torch.arange(3).expand(2, 3), h[:, :3]),
    "index_copy": lambda h: K.to(h).index_copy(1, torch.tensor([0, 2]), h[:, :2]),
    "index_add": lambda h: K.to(h).index_add(1, torch.tensor([0, 2]), h[:, :2]),
    "slice_scatter": lambda h: torch.slice_scatter(K.to(h), h[:, :2], 1, 0, 2),
    "index_fill": lambda h: h.index_fill(1, torch.tensor([1]), 3.0),
    "block_diag": lambda h: torch.block_diag(h, K.to(h))[:2],
    "maximum": lambda h: torch.maximum(h, K.to(h)),
    "sum": lambda h: h + K.to(h),
    "product": lambda h: h * K.to(h),
    "unfold": lambda h: h.unfold(1, 3, 2).flatten(1),
    "max_pool1d": lambda h: F.max_pool1d(h[:, None], 2, 1).flatten(1),
    "unpooled": lambda h: F.max_unpool1d(*F.max_pool1d(h[:, None], 2, return_indices=True), 2).flatten(1),
    "dropped": lambda h: torch.cat([h.chunk(2, 1)[1], K.to(h)[:, :3]], 1),
    "out": lambda h: torch.cat([h[:, :3], K.to(h)[:, :3]], 1, out=torch.zeros(2, 6).to(h)),
    "a probability": torch.sigmoid,
    **{f.__name__: f for f in (part_overwritten, part_filled, through_a_view, a_view_written, in_steps)},
}


@pytest.mark.parametrize("composite", ["epsilon", "alpha1_beta0", "attn_lrp", "epsilon_plus_flat"])
@pytest.mark.parametrize("f", MOVES.values(), ids=MOVES)
def test_all_that_is_explained_reached_the_inputs_or_is_on_a_line(f, composite):
    torch.manual_seed(1)
    books = altprop.LRP(Net(f).double(), composite).conservation(torch.randn(2, 6).double(), 1)
    kept = sum(record.biases + record.stabilisers for record in books)
    scale = max(abs(record.received) for record in books)
    assert books.explained == pytest.approx(books.reached + kept, abs=1e-9 * max(scale, 1.0))
    for record in books:
        total = record.passed + record.biases + record.stabilisers
        assert record.received == pytest.approx(total, abs=1e-9 * max(scale, 1.0))


def test_what_a_class_token_keeps_is_a_line_of_its_own():
    model, x = Net(MOVES["class token"]).double(), torch.randn(2, 6).double()
    lrp = altprop.LRP(model, "epsilon")
    line = next(record for record in lrp.conservation(x, 1) if record.operation == "cat")
    h = model.f(model.first(x)).detach()
    share = h[:, :6] * model.last.weight[1, :6]  # the token's contributions to the output
    assert line.rule == "move"
    assert line.biases == pytest.approx(float(share.detach().sum()), rel=1e-4)


def test_moves_that_lose_nothing_have_no_line():
    model = Net(lambda h: h.view(2, 2, 3).transpose(1, 2).flip(1).flatten(1)).double()
    books = altprop.LRP(model, "epsilon").conservation(torch.randn(2, 6).double(), 1)
    assert [record.operation for record in books] == ["linear", "linear"]
