"""Attention and normalisations: fused and eager forms agree, masks are heeded, CP-LRP takes attention as constant."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import LAYERS, Composite, Epsilon, Pass

TOKENS, WIDTH = 4, 6


class Attention(nn.Module):
    """Self-attention in one of three spellings, with a mask or none."""

    def __init__(self, form, mask=None):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.form, self.mask = form, mask
        self.double()

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        if self.form == "fused":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        scores = q @ k.transpose(-2, -1) / math.sqrt(WIDTH)
        if self.mask is not None and self.form == "filled":
            scores = scores.masked_fill(~self.mask, -torch.inf)
        elif self.mask is not None:
            scores = scores + torch.zeros(()).double().masked_fill(~self.mask, -torch.inf)
        return F.softmax(scores, dim=-1) @ v


MASKS = {
    "none": None,
    "causal": torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril(),
    "padding": torch.tensor([[[True, True, True, False]], [[True, True, False, False]]]).expand(2, TOKENS, TOKENS),
}


def embedded():
    torch.manual_seed(1)
    return torch.randn(2, TOKENS, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("form", ["eager", "filled"])
@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp", "epsilon", "gradient"])
def test_eager_attention_is_explained_like_fused(composite, form, mask):
    x = embedded()
    fused, eager = (altprop.LRP(Attention(kind, mask), composite).trace(x, target=(2, 1)) for kind in ("fused", form))
    for name, R in fused.items():
        assert R.isfinite().all()
        torch.testing.assert_close(eager[name], R, rtol=1e-3, atol=1e-5)  # the eager form has stabilisers between


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("form", ["fused", "eager", "filled"])
def test_the_books_are_finite_where_a_mask_is_infinite(form, mask):
    books = altprop.LRP(Attention(form, mask), "attn_lrp").conservation(embedded(), target=(2, 1))
    assert all(math.isfinite(record.biases) and math.isfinite(record.stabilisers) for record in books)


@pytest.mark.parametrize("form", ["fused", "eager"])
def test_masked_tokens_get_nothing(form):
    x = embedded()
    R = altprop.LRP(Attention(form, MASKS["causal"]), "attn_lrp").attribute(x, target=(1, 1))
    assert R[:, :2].any() and not R[:, 2:].any()


@pytest.mark.parametrize("form", ["fused", "eager"])
def test_cp_lrp_gives_queries_and_keys_nothing_and_values_all(form):
    model, x = Attention(form), embedded()
    layers = altprop.LRP(model, "cp_lrp").trace(x, target=(2, 1))
    assert not layers["query"].any() and not layers["key"].any()
    output = model(x)[:, 2, 1].detach()
    torch.testing.assert_close(layers["value"].sum((1, 2)), output, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", ["fused", "eager"])
def test_attn_lrp_gives_half_to_the_values(form):
    model, x = Attention(form), embedded()
    layers = altprop.LRP(model, "attn_lrp").trace(x, target=(2, 1))
    output = model(x)[:, 2, 1].detach()
    torch.testing.assert_close(layers["value"].sum((1, 2)), output / 2, rtol=1e-3, atol=1e-5)
    assert layers["query"].any() and layers["key"].any()


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp", "gradient"])
def test_torchs_attention_module_is_explained_like_its_parts(composite, need_weights):
    class OfTorch(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, 1, batch_first=True, dtype=torch.float64)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=need_weights)[0]

    model, parts = OfTorch(), Attention("fused")
    packed = model.attention
    with torch.no_grad():
        packed.in_proj_weight.copy_(torch.cat([parts.query.weight, parts.key.weight, parts.value.weight]))
        packed.in_proj_bias.copy_(torch.cat([parts.query.bias, parts.key.bias, parts.value.bias]))
    whole = nn.Sequential(parts, nn.Linear(WIDTH, WIDTH, dtype=torch.float64))
    whole[1].load_state_dict(packed.out_proj.state_dict())
    x = embedded()
    found, expected = (altprop.LRP(m, composite).attribute(x, target=(2, 1)) for m in (model, whole))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


class Classifier(nn.Module):
    """A small transformer on tokens."""

    def __init__(self, norm_first):
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(7, WIDTH)
        self.positions = nn.Parameter(torch.randn(TOKENS, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids, padding=None):
        encoded = self.encoder(self.tokens(ids) + self.positions, src_key_padding_mask=padding)
        return self.head(encoded[:, 0])


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp", "epsilon", "epsilon_plus", "gradient"])
def test_tokens_of_a_transformer_have_one_relevance_each(composite, norm_first):
    model = Classifier(norm_first)
    ids, padding = (
        torch.tensor([[1, 2, 3, 0], [4, 4, 0, 0]]),
        torch.tensor([[False] * 3 + [True], [False] * 2 + [True] * 2]),
    )
    before = ids.clone()
    R = altprop.LRP(model, composite, strict=True).attribute(ids, target=1, additional_forward_args=padding)
    assert R.shape == ids.shape and R.isfinite().all() and ids.equal(before)
    assert not R[padding].any() and R[~padding].any()
    named = altprop.LRP(model, composite).attribute({"ids": ids, "padding": padding}, target=1)
    assert named.keys() == {"ids"} and named["ids"].equal(R)


def test_the_gradient_of_a_transformer_is_autograds():
    model = Classifier(norm_first=True).eval()
    ids = torch.tensor([[1, 2, 3, 0]])
    vectors = model.tokens(ids).detach().requires_grad_()
    output = model.head(model.encoder(vectors + model.positions)[:, 0])[:, 1].sum()
    expected = torch.autograd.grad(output, vectors)[0].sum(-1)
    torch.testing.assert_close(altprop.LRP(model, "gradient").attribute(ids, target=1), expected)


NORMS = {
    "LayerNorm": (lambda: nn.LayerNorm(6), (4, 6)),
    "LayerNorm over two": (lambda: nn.LayerNorm((4, 6)), (4, 6)),
    "LayerNorm alone": (lambda: nn.LayerNorm(6, elementwise_affine=False), (6,)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (4, 6)),
    "InstanceNorm": (lambda: nn.InstanceNorm1d(4, affine=True), (4, 6)),
}


@pytest.mark.parametrize("make, sizes", NORMS.values(), ids=NORMS)
def test_normalisations_share_in_proportion_with_the_deviation_as_a_constant(make, sizes):
    torch.manual_seed(0)
    norm = make().double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, *sizes, dtype=torch.float64)
    R = torch.randn(3, *sizes, dtype=torch.float64)
    z = norm(x).detach()
    # The matrix of the map with the deviation held fixed, example by example.
    found = altprop.LRP(norm, "epsilon").attribute(x, target=R)
    for example, relevance, output, R_x in zip(x, R, z, found, strict=True):
        matrix = _centring(norm, example)
        s = (relevance / (output + 1e-6 * torch.where(output < 0, -1.0, 1.0))).flatten()
        torch.testing.assert_close(R_x.flatten(), example.flatten() * (matrix.T @ s))
    passed = altprop.LRP(norm, Composite([(type(norm), Pass()), (LAYERS, Epsilon())])).attribute(x, target=R)
    assert passed.equal(R)


def _centring(norm, example):
    """d z / d x of (x - mean) / deviation * weight, with the deviation as a number, from unit vectors."""
    groups = {nn.GroupNorm: 2, nn.InstanceNorm1d: 4}.get(type(norm))
    if groups is None:
        size = math.prod(norm.normalized_shape)
        groups = example.numel() // size
    rows = example.reshape(groups, -1)
    deviation = (rows.var(1, unbiased=False) + norm.eps).sqrt()
    units = torch.eye(example.numel(), dtype=torch.float64).view(-1, groups, rows.shape[1])
    made = ((units - units.mean(2, keepdim=True)) / deviation[:, None]).view(-1, *example.shape)
    weight = torch.ones(()).double() if norm.weight is None else norm.weight.detach()
    scale = weight if isinstance(norm, nn.LayerNorm) else weight[:, None]
    return (made * scale).flatten(1).T


def test_rms_norms_pass():
    norm, R = nn.RMSNorm(6), torch.randn(2, 6)
    assert altprop.LRP(norm, "epsilon", strict=True).attribute(torch.randn(2, 6), target=R).equal(R)
