"""Relevance of tokens, however a model looks them up: for a linear model, that of a token is w · e(token)."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import composites

VOCABULARY, WIDTH = 50, 4
IDS = torch.tensor([[3, 17, 8], [41, 5, 26]])


class Lookup(nn.Module):
    """``look_up(e, ids)`` makes vectors (batch, ..., width) of tokens, of which a linear layer takes the sum."""

    def __init__(self, look_up):
        super().__init__()
        torch.manual_seed(0)
        self.e, self.o = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, 2, bias=False)
        self.look_up = look_up
        self.double()

    def forward(self, *ids, **kwargs):
        return self.o(self.look_up(self.e, *ids, **kwargs).flatten(1, -2).sum(1))

    def of(self, ids):
        """w · e(token), for the output 0."""
        return (self.e.weight[ids] @ self.o.weight[0]).detach()


def explain(model, inputs, *more):
    return altprop.LRP(model, composites.epsilon(1e-12, 1e-12), strict=True).attribute(inputs, 0, *more)


def check(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def written(e, ids):
    shifted = ids.new_zeros(ids.shape)
    shifted[:, 1:] = ids[:, :-1]
    return e(shifted)


def written_into_a_view(e, ids):
    shifted = torch.zeros_like(ids)
    start = shifted[:, :1]
    shifted[:, 1:].copy_(ids[:, :-1])
    return torch.cat([e(shifted)[:, 1:], 0 * e(start)], 1)


def joined_in_place(e, ids):
    joined = torch.empty(2, 4, dtype=torch.long)
    joined[:, 0] = 9
    joined.narrow(1, 1, 3).copy_(ids)
    return e(joined)[:, 1:]


def padded_with_a_row(e, ids):
    return e(F.pad(ids, (1, 1), value=7))[:, 1:-1]


MOVED = {
    "transposed": lambda e, ids: e(ids.t()).transpose(0, 1),
    "transposed and copied": lambda e, ids: e(ids.transpose(0, 1).contiguous()).transpose(0, 1),
    "T": lambda e, ids: e(ids.T).transpose(0, 1),
    "data": lambda e, ids: e(ids.data),
    "detached and cloned": lambda e, ids: e(ids.detach().clone()),
    "deep copy": lambda e, ids: e(copy.deepcopy(ids)),
    "cast": lambda e, ids: e(ids.int().long()),
    "cast by to": lambda e, ids: e(ids.to(torch.int32)),
    "cast to bytes": lambda e, ids: e(ids.to(torch.uint8).long()),
    "as a tensor": lambda e, ids: e(torch.as_tensor(ids, dtype=torch.int32)),
    "without gradients": lambda e, ids: e(torch.no_grad()(lambda ids: ids.t().contiguous())(ids)).transpose(0, 1),
    "flat": lambda e, ids: e(ids.reshape(-1)).view(2, 3, -1),
    "one by one": lambda e, ids: torch.stack([e(column) for column in ids.unbind(1)], 1),
    "columns": lambda e, ids: torch.stack([e(ids[:, i]) for i in range(3)], 1),
    "iterated": lambda e, ids: torch.stack([e(row) for row in ids]),
    "chunks": lambda e, ids: torch.cat([e(part) for part in ids.split([1, 2], 1)], 1),
    "keywords": lambda e, ids: F.embedding(weight=e.weight, input=ids.chunk(chunks=2, dim=0)[0].repeat(2, 1)) * 0 + e(ids),
    "flipped": lambda e, ids: e(ids.flip(1)),
    "rolled": lambda e, ids: e(ids.roll(1, 1)),
    "sorted by indices": lambda e, ids: e(ids.gather(1, ids.argsort(1))),
    "reordered": lambda e, ids: e(ids.index_select(1, torch.tensor([2, 0, 1]))),
    "einops-like": lambda e, ids: e(ids.unsqueeze(-1).permute(2, 0, 1).squeeze(0)),
    "joined with constants": lambda e, ids: e(torch.cat([torch.full((2, 1), 9), ids], 1))[:, 1:],
    "joined in place": joined_in_place,
    "padded": padded_with_a_row,
    "embedding_bag": lambda e, ids: F.embedding_bag(ids, e.weight, mode="sum")[:, None],
    "bags": lambda e, ids: F.embedding_bag(ids.view(-1), e.weight, torch.tensor([0, 3]), mode="mean")[:, None] * 3,
    "weight[ids]": lambda e, ids: e.weight[ids],
    "weight[ids, :]": lambda e, ids: e.weight[ids, :],
    "weight[..., ids, :]": lambda e, ids: e.weight[None][..., ids.t(), :][0].transpose(0, 1),
    "weight.T[:, ids]": lambda e, ids: e.weight.T[:, ids].permute(1, 2, 0),
    "index_select": lambda e, ids: torch.index_select(e.weight, 0, ids.flatten()).view(2, 3, -1),
    "gather": lambda e, ids: e.weight.gather(0, ids.view(-1, 1).expand(-1, WIDTH)).view(2, 3, -1),
    "take_along_dim": lambda e, ids: torch.take_along_dim(e.weight, ids.view(-1, 1), 0).view(2, 3, -1),
    "torch.embedding": lambda e, ids: torch.embedding(e.weight, ids),
    "one_hot": lambda e, ids: F.one_hot(ids, VOCABULARY).double() @ e.weight,
    "one_hot to": lambda e, ids: F.linear(F.one_hot(ids, VOCABULARY).to(e.weight.dtype), e.weight.t()),
    "renumbered": lambda e, ids: e(torch.arange(VOCABULARY)[ids]),
    "where": lambda e, ids: e(torch.where(ids >= 0, ids, 0)),
    "masked": lambda e, ids: e(ids.masked_fill(ids < 0, 0)),
    "clamped": lambda e, ids: e(ids.clamp(0, VOCABULARY - 1)),
    "bucketed": lambda e, ids: e(torch.bucketize(ids, torch.arange(VOCABULARY))),
    "there and back": lambda e, ids: e((ids + 100) * 2 // 2 - 100),
    "operators": lambda e, ids: e(-(~ids) - 1 + (ids & 0) + (1 * ids) % 1),
    "in place": lambda e, ids: e(ids.add_(3).sub_(3)),
    "a view in place": lambda e, ids: e((ids[:, 0].add_(1), ids[:, 0].sub_(1), ids)[2]),
    "masked by its padding": lambda e, ids: e(ids * (ids != 0)) * (ids != 0).double()[..., None],
    "padding positions": lambda e, ids: e(ids) + 0 * e((ids != 0).long().cumsum(1)),
    "positions as ids": lambda e, ids: e(ids) + 0 * e(torch.arange(3).expand_as(ids)),
}  # fmt: skip


@pytest.mark.parametrize("way", MOVED)
@pytest.mark.parametrize("composite", ["epsilon", "gradient"])
def test_tokens_have_the_relevance_of_their_vectors(way, composite):
    model = Lookup(MOVED[way])
    ids = IDS.clone()
    if composite == "epsilon":
        found = explain(model, ids)
    else:
        gradients = altprop.explain.Composite([], otherwise="gradient", seed="one")
        found = altprop.LRP(model, gradients).attribute(ids, 0)
    assert found.shape == ids.shape and ids.equal(IDS)
    if composite == "epsilon":
        check(found, model.of(IDS))
    else:  # the gradient with respect to the vectors, summed: w for each
        assert way in {"one_hot", "one_hot to"} or torch.allclose(found, model.o.weight[0].sum().expand(2, 3).detach())


@pytest.mark.parametrize(
    "look_up, given",
    [
        (written, [[17, 0, 3], [5, 0, 41]]),
    ],
)
def test_nothing(look_up, given):
    pass
