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
    "keywords": lambda e, ids: F.embedding(weight=e.weight, input=torch.squeeze(input=ids, dim=0)),
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


def test_tokens_that_are_shifted_right_have_that_of_the_next_place():
    for look_up in (written, written_into_a_view):
        model = Lookup(look_up)
        expected = model.of(IDS)
        expected[:, -1] = 0  # it is moved out
        check(explain(model, IDS), expected)


def test_tokens_that_are_replaced_have_none():
    def replaced(e, ids):
        ids = ids.clone()
        ids[ids == 17] = 1
        ids[:, 2] = 2
        ids.masked_fill_(ids == 41, 3)
        return e(torch.where(ids == 5, 4, ids))

    model = Lookup(replaced)
    check(explain(model, IDS), model.of(IDS) * torch.tensor([[1, 0, 0], [0, 0, 0]]))


def test_what_is_looked_up_is_what_the_token_became():
    model = Lookup(lambda e, ids: e(ids + 2) + e(ids % 7))
    check(explain(model, IDS), model.of(IDS + 2) + model.of(IDS % 7))


def test_tokens_that_are_used_twice_have_both():
    model = Lookup(lambda e, ids: torch.cat([e(ids), e(ids.repeat(1, 2)), e(ids[:, :1])], 1))
    check(explain(model, IDS), model.of(IDS) * torch.tensor([4, 3, 3]))


@pytest.mark.parametrize("strided", [IDS.t().contiguous().t(), IDS.repeat(1, 2)[:, ::2], IDS[:, :1].expand(2, 3)])
def test_inputs_of_any_memory_layout(strided):
    model = Lookup(lambda e, ids: e(ids.t().reshape(-1)).view(3, 2, -1).transpose(0, 1))
    check(explain(model, strided), model.of(strided))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_leave_their_padding_out(mode):
    class Bags(Lookup):
        def __init__(self):
            super().__init__(None)
            self.e = nn.EmbeddingBag(VOCABULARY, WIDTH, mode=mode, padding_idx=17).double()

        def forward(self, ids):
            return self.o(self.e(ids))

    model = Bags()
    kept = (IDS != 17).double()
    count = kept.sum(1, keepdim=True) if mode == "mean" else 1
    check(explain(model, IDS), model.of(IDS) * kept / count)


def test_weighted_bags():
    model = Lookup(lambda e, ids, w: F.embedding_bag(ids, e.weight, mode="sum", per_sample_weights=w)[:, None])
    weights = torch.rand(2, 3).double()
    check(explain(model, IDS, (weights,)), model.of(IDS) * weights)


def test_bags_of_the_largest_go_to_the_winner():
    model = Lookup(lambda e, ids: F.embedding_bag(ids, e.weight, mode="max")[:, None])
    winner = model.e(IDS).max(1).indices
    taken = F.one_hot(winner, 3).transpose(1, 2)
    check(explain(model, IDS), (model.e(IDS) * model.o.weight[0] * taken).sum(-1).detach())


OTHERS = torch.tensor([[1, 2], [30, 49]])


def test_two_inputs_of_tokens():
    for look_up in (
        lambda e, a, b: torch.cat([e(a), e(b)], 1),
        lambda e, a, b: e(torch.cat([b, a], 1)),
        lambda e, a, b: e(torch.cat([a, b], 1).flip(1)),
    ):
        model = Lookup(look_up)
        a, b = explain(model, (IDS, OTHERS))
        check(a, model.of(IDS))
        check(b, model.of(OTHERS))
        check(explain(model, IDS, (OTHERS,)), model.of(IDS))


def test_the_same_tensor_as_two_inputs():
    model = Lookup(lambda e, a, b: torch.cat([e(a), 2 * e(b)], 1))
    a, b = explain(model, (IDS, IDS))
    check(a, model.of(IDS))
    check(b, 2 * model.of(IDS))


def test_tokens_in_a_dict_beside_a_mask():
    def masked(e, ids, mask):
        return e(ids.t()).transpose(0, 1) + (1.0 - mask[..., None].double()) * -1e9 * 0

    model = Lookup(masked)
    found = explain(model, {"ids": IDS, "mask": torch.ones_like(IDS)})
    assert list(found) == ["ids"]  # the mask is no token: of a dict, it is left out
    check(found["ids"], model.of(IDS))


class Table(nn.Module):
    """Numbers beside categories, each of which has an embedding of its own."""

    def __init__(self, sizes=(7, 5)):
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.ModuleList(nn.Embedding(size, 3) for size in sizes)
        self.o = nn.Linear(3 + 3 * len(sizes), 2, bias=False)
        self.double()

    def forward(self, numbers, categories):
        looked_up = [e(categories[:, i]) for i, e in enumerate(self.embeddings)]
        return self.o(torch.cat([numbers, *looked_up], 1))

    def parts(self, categories):
        """For the output 0, the relevance of each vector: (batch, columns, 3)."""
        vectors = torch.stack([e(categories[:, i]) for i, e in enumerate(self.embeddings)], 1)
        return (vectors * self.o.weight[0, 3:].view(-1, 3)).detach()


NUMBERS = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -3.0]], dtype=torch.float64)
CATEGORIES = torch.tensor([[5, 1], [2, 4]])


def test_columns_of_a_table_beside_numbers():
    model = Table()
    numbers, categories = explain(model, (NUMBERS, CATEGORIES))
    check(numbers, NUMBERS * model.o.weight[0, :3].detach())
    check(categories, model.parts(CATEGORIES).sum(-1))


def test_trace_of_embeddings_that_are_explained():
    model = Table()
    found = altprop.LRP(model, composites.epsilon(1e-12, 1e-12)).trace((NUMBERS, CATEGORIES), 0)
    assert list(found) == ["embeddings.0", "embeddings.1", "o"]
    for i in range(2):
        check(found[f"embeddings.{i}"], model.parts(CATEGORIES)[:, i])


def test_trace_leaves_out_what_does_not_depend_on_the_inputs():
    model = Table()
    lrp = altprop.LRP(model, composites.epsilon(1e-12, 1e-12))
    assert list(lrp.trace(NUMBERS, 0, (CATEGORIES,))) == ["o"]
    with pytest.raises(
        ValueError, match=r"'embeddings\.1' did not run, or returned nothing that depends on the inputs"
    ):
        lrp.trace(NUMBERS, 0, (CATEGORIES,), modules=["o", "embeddings.1"])
    # one call of two
    model = Lookup(lambda e, a, b: torch.cat([e(a), e(b)], 1))
    lrp = altprop.LRP(model, composites.epsilon(1e-12, 1e-12))
    for modules in (None, ["e"]):
        found = lrp.trace(IDS, 0, (OTHERS,), modules)
        check(found["e"].sum(-1), model.of(IDS))
        assert "e#2" not in found


def test_zeros_in_a_trace_are_relevance():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2, bias=False), nn.Linear(3, 4)

        def forward(self, x):
            self.unused(x)
            return self.used(x)

    found = altprop.LRP(Unused(), "epsilon").trace(torch.ones(1, 3), 0)
    assert found["unused"].equal(torch.zeros(1, 4)) and found["used"].any()


def test_channels_are_ranked_where_a_layer_is_fed_by_constants():
    class Conditioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.constant, self.layer = nn.Linear(1, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x) + self.constant(torch.ones(len(x), 1))

    ranked = altprop.explain.rank_channels(
        altprop.LRP(Conditioned(), "epsilon"), [(torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))]
    )
    assert list(ranked) == ["layer"]


@pytest.mark.parametrize(
    "look_up, name",
    [
        (lambda e, ids: e(ids.unique()[None]).expand(2, -1, -1), "Tensor.unique"),
        (lambda e, ids: e(ids.sort(1).values), "Tensor.sort"),
        (lambda e, ids: e(ids.cumsum(1) % VOCABULARY), "Tensor.cumsum"),
        (lambda e, ids: e.weight[ids.sum(1, keepdim=True) % VOCABULARY], "Tensor.sum"),
        (lambda e, ids: e((ids[:, 1:] * 7 + ids[:, :-1]) % VOCABULARY), "Tensor.(__)?add"),
        (lambda e, ids: F.one_hot(ids, VOCABULARY).sum(1, keepdim=True).double() @ e.weight, "Tensor.sum"),
    ],
)
def test_indices_that_come_from_no_one_token_are_refused(look_up, name):
    with pytest.raises(
        ValueError, match=rf"went through torch\.{name}(__)?, after which an index comes from no one token"
    ):
        explain(Lookup(look_up), IDS)


def test_indices_that_come_from_no_one_token_do_no_harm_where_they_are_not_looked_up():
    model = Lookup(lambda e, ids: e(ids) * (ids.sort(1).values > 0)[..., None] + 0 * e.weight[ids.argmax(1)][:, None])
    check(explain(model, IDS), model.of(IDS))


@pytest.mark.parametrize(
    "look_up, reason",
    [
        (lambda e, ids: e(torch.zeros_like(ids)), r"not looked up in an embedding that LRP sees"),
        (lambda e, ids: ids.double()[..., None] * e.weight[0], r"it went into torch\.Tensor\.double"),
        (lambda e, ids: e.weight[torch.tensor(ids.tolist())], r"it went into torch\.Tensor\.tolist"),
        (lambda e, ids: (ids[..., None] == torch.arange(VOCABULARY)).double() @ e.weight, r"Tensor\.(__eq__|eq)"),
        (torch.no_grad()(lambda e, ids: e(ids)), r"it went into torch\.no_grad"),
    ],
)
def test_tokens_that_are_not_looked_up_are_told_why(look_up, reason):
    with pytest.raises(ValueError, match=rf"the integer input was not looked up in an embedding.*{reason}|{reason}"):
        explain(Lookup(look_up), IDS)
    beside = Lookup(lambda e, x, ids: torch.cat([x, look_up(e, ids)], 1))
    with pytest.raises(ValueError, match=rf"No relevance can reach an integer input: .*{reason}"):
        explain(beside, (torch.rand(2, 1, WIDTH).double(), IDS))


def test_books_have_a_line_for_tokens_that_the_model_adds():
    model = Lookup(lambda e, ids: e(torch.cat([torch.full((2, 1), 9), ids], 1)))
    books = altprop.LRP(model, composites.epsilon(1e-12, 1e-12)).conservation(IDS, 0)
    check(torch.tensor(books.reached).double(), model.of(IDS).sum())
    (line,) = [record for record in books if record.operation == "embedding"]
    check(torch.tensor(line.biases).double(), 2 * model.of(torch.tensor(9)))
    plain = altprop.LRP(Lookup(lambda e, ids: e(ids)), "epsilon").conservation(IDS, 0)
    assert not [record for record in plain if record.operation == "embedding"]


def test_transformers_that_turn_their_tokens_have_the_relevance_of_the_embeddings():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.XLNetConfig(vocab_size=VOCABULARY, d_model=16, n_layer=2, n_head=2, d_inner=24, num_labels=3)
    model = transformers.XLNetForSequenceClassification(config).double().eval()
    lrp = altprop.LRP(model, "attn_lrp")
    of_tokens = lrp.attribute({"input_ids": IDS}, 1)["input_ids"]
    vectors = model.transformer.word_embedding(IDS).detach()
    of_vectors = lrp.attribute({"inputs_embeds": vectors}, 1)["inputs_embeds"]
    check(of_tokens, of_vectors.sum(-1))


def test_nothing_stays_on_what_was_explained():
    model = Lookup(lambda e, ids: e(ids.t()).transpose(0, 1))
    before = dict(vars(IDS))
    explain(model, IDS)
    assert vars(IDS) == before and not vars(model.e.weight)


def test_tokens_are_reported_as_any_operation():
    for look_up, name in ((lambda e, ids: e(ids), "embedding"), (lambda e, ids: e.weight[ids], "__getitem__")):
        names = [name for name, *_ in altprop.LRP(Lookup(look_up), "epsilon").operations(IDS)]
        assert any(name in seen for seen in names)
        assert len(set(names)) == len(names)
