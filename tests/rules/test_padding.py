"""Padding has no part in what positions share: the update of a padded batch is that of its tokens alone."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from tests.rules.test_direct import attach_quietly

PADDING = 20


class Pooled(nn.Module):
    """Tokens through an encoder, and the mean of what is no padding to classes."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def encode(self, ids, padding):
        h = self.encoder(self.embed(ids), src_key_padding_mask=padding)
        real = (~padding).to(h.dtype).unsqueeze(-1)
        return self.head((h * real).sum(1) / real.sum(1))


class ByPosition(Pooled):
    def forward(self, ids, padding_mask):
        return self.encode(ids, padding_mask)


class ByName(Pooled):
    def forward(self, ids, *, attention_mask=None):
        return self.encode(ids, attention_mask == 0)


class InMapping(Pooled):
    def forward(self, inputs):
        return self.encode(inputs["ids"], inputs["attention_mask"] == 0)


class Within(Pooled):
    """The model makes the mask by itself; the encoder within it is given it."""

    def forward(self, ids):
        return self.encode(ids, ids == 0)


class Unclear(Pooled):
    def forward(self, ids, mask):
        return self.encode(ids, mask)


CALLS = {
    ByPosition: lambda m, ids: m(ids, ids == 0),
    ByName: lambda m, ids: m(ids, attention_mask=(ids > 0).long()),
    InMapping: lambda m, ids: m({"ids": ids, "attention_mask": ids > 0}),
    Within: lambda m, ids: m(ids),
    Unclear: lambda m, ids: m(ids, ids == 0),
}
RULES = [altprop.DFA, altprop.DRTP, altprop.LocalLoss]


def tokens(lengths):
    torch.manual_seed(2)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, 30, (length,))
    return ids


def updates(cls, rule, ids, y):
    torch.manual_seed(0)
    model = cls().double().eval()
    with attach_quietly(rule, model), altprop.targets(y):
        F.cross_entropy(CALLS[cls](model, ids), y).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert grads["encoder.layers.0.linear1.weight"].any()
    return grads


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cls", [ByPosition, ByName, InMapping, Within])
def test_a_padded_batch_learns_as_its_tokens_alone(cls, rule):
    ids, y = tokens([5, 5, 5, 5]), torch.tensor([0, 1, 2, 0])
    padded = F.pad(ids, (0, PADDING))
    assert_same(updates(cls, rule(seed=0), padded, y), updates(cls, rule(seed=0), ids, y))


@pytest.mark.parametrize("rule", RULES)
def test_samples_of_different_lengths_learn_as_each_alone(rule):
    lengths, y = [7, 3, 5], torch.tensor([0, 1, 2])
    ids = tokens(lengths)
    found = updates(ByName, rule(seed=0), ids, y)
    single = [updates(ByName, rule(seed=0), ids[i : i + 1, :n], y[i : i + 1]) for i, n in enumerate(lengths)]
    assert_same(found, {name: sum(one[name] for one in single) / 3 for name in found})


@pytest.mark.parametrize("rule", RULES)
def test_a_mask_whose_name_does_not_tell_is_asked_about_or_named(rule):
    ids, y = tokens([5, 5, 5, 5]), torch.tensor([0, 1, 2, 0])
    padded = F.pad(ids, (0, PADDING))
    torch.manual_seed(0)
    model = Unclear().double()
    with attach_quietly(rule(seed=0), model), altprop.targets(y):
        with pytest.warns(UserWarning, match="does not know what the argument 'mask' marks") as told:
            CALLS[Unclear](model, padded)
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            CALLS[Unclear](model, padded)
    named = rule(seed=0, mask="~mask")
    assert_same(updates(Unclear, named, padded, y), updates(Unclear, named, ids, y))


def test_an_additive_mask_marks_padding_where_it_is_not_zero():
    class Additive(Pooled):
        def forward(self, ids, src_key_padding_mask):
            return self.encode(ids, src_key_padding_mask < 0)

    CALLS[Additive] = lambda m, ids: m(ids, torch.zeros(ids.shape).masked_fill(ids == 0, -torch.inf))
    ids, y = tokens([5, 5]), torch.tensor([0, 1])
    rule = altprop.DFA(seed=0)
    assert_same(updates(Additive, rule, F.pad(ids, (0, 4)), y), updates(Additive, rule, ids, y))


@pytest.mark.parametrize("projection", ["dense", "channel"])
def test_convolutions_over_padded_positions(projection):
    """Written out: B e at each entry, or 1/√tokens of it at each token; nothing at padding."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv1d(2, 4, 1), nn.Conv1d(4, 4, 1), nn.Linear(4, 3)

        def forward(self, x, attention_mask):
            h = self.b(torch.tanh(self.a(x)))
            return self.c((h * attention_mask[:, None]).sum(2))

    torch.manual_seed(0)
    model, x = Net().double(), torch.randn(3, 2, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    attachment = altprop.DFA(seed=0, projection=projection).attach(model)
    output = model(x, mask)
    e = torch.randn_like(output)
    output.backward(e)
    B, real = model.b.feedback_projection, mask.to(torch.float64)[:, None]
    attachment.remove()
    if projection == "dense":
        signal = (e @ B).view(3, 4, 6) * real
    else:
        signal = (e @ B)[:, :, None] * real / real.sum(2, keepdim=True).sqrt()
    (expected,) = torch.autograd.grad(torch.tanh(model.a(x)), x, signal)
    torch.testing.assert_close(x.grad, expected)


def test_two_masks_that_fit_are_asked_about():
    class Two(Pooled):
        def forward(self, ids, attention_mask, decoder_attention_mask):
            return self.encode(ids, attention_mask == 0)

    model, ids = Two(), tokens([5, 5])
    with altprop.DFA(seed=0).attach(model), pytest.raises(ValueError, match="cannot tell which of attention_mask"):
        model(ids, ids > 0, ids.clone() > 0)
    with altprop.DFA(seed=0, mask="attention_mask").attach(model):
        model(ids, ids > 0, ids.clone() > 0)


def test_a_mask_argument_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="has an argument 'lengths', which mask= names"):
        altprop.DFA(mask="lengths").attach(ByName())


def test_bert_learns_from_its_tokens_alone():
    from transformers import BertConfig, BertForSequenceClassification  # noqa: PLC0415

    size = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**size, intermediate_size=32)).eval().double()
    altprop.DFA(seed=0, output="classifier").attach(model)
    found = []
    ids = torch.arange(3, 8)[None]
    for padded in (ids, F.pad(ids, (0, PADDING))):
        model.zero_grad()
        logits = model(input_ids=padded, attention_mask=(padded > 0).long()).logits
        F.cross_entropy(logits, torch.tensor([1])).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    # The embedding's rows of padding and of its places have no gradient but zero.
    assert_same(found[1], found[0])
