"""Calls that are made of several operations: what a rule hands back is what it hands back through the parts.

Each call stands beside the same written out in functions that have one law each, which torch's own database checks one
by one: computed weights, biases, masks and slopes.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import ZPlus
from tests.ops import laws, operators

RULES = {"lrp": operators.by_lrp, "lfp": operators.by_lfp}


def attention(q, k, v, mask=None, causal=False):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    return F.softmax(scores if mask is None else scores + mask, -1) @ v


def grouped_attention(q, k, v):
    return attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), causal=True)


HEADS, WIDTH = 2, 4


def multi_head(query, key, value, weight, bias, bias_k, bias_v, out_weight, out_bias, mask, **kwargs):
    return F.multi_head_attention_forward(
        query, key, value, WIDTH, HEADS, weight, bias, bias_k, bias_v, False, 0.0, out_weight, out_bias,
        training=False, attn_mask=mask, **kwargs,
    )[0]  # fmt: skip


def multi_head_in_parts(query, key, value, weight, bias, bias_k, bias_v, out_weight, out_bias, mask):
    """One batch entry after the other: (length, batch, width)."""
    mask = torch.cat([mask, torch.zeros(len(mask), 1, dtype=mask.dtype)], 1)
    columns = []
    for i in range(query.shape[1]):
        parts = zip((query, key, value), weight.chunk(3), bias.chunk(3), strict=True)
        q, k, v = (given[:, i] @ w.t() + b for given, w, b in parts)
        k, v = torch.cat([k, bias_k[0]]), torch.cat([v, bias_v[0]])
        q, k, v = (one.unflatten(-1, (HEADS, -1)).transpose(0, 1) for one in (q, k, v))
        columns.append(attention(q, k, v, mask).transpose(0, 1).flatten(1) @ out_weight.t() + out_bias)
    return torch.stack(columns, 1)


CALLS = {
    "attention with a bias": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m), attention,
        [(2, 3, 4), (2, 5, 4), (2, 5, 4), (3, 5)],
    ),
    "grouped causal attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), grouped_attention,
        [(2, 4, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4)],
    ),
    "multi-head attention": (
        multi_head, multi_head_in_parts,
        [(3, 2, 4), (5, 2, 4), (5, 2, 4), (12, 4), (12,), (1, 1, 4), (1, 1, 4), (4, 4), (4,), (3, 5)],
    ),
    "multi-head attention without weights": (
        lambda *tensors: multi_head(*tensors, need_weights=False), multi_head_in_parts,
        [(3, 2, 4), (5, 2, 4), (5, 2, 4), (12, 4), (12,), (1, 1, 4), (1, 1, 4), (4, 4), (4,), (3, 5)],
    ),
    "linear": (F.linear, lambda x, w, b: x @ w.t() + b, [(3, 4), (5, 4), (5,)]),
    "conv1d": (
        F.conv1d, lambda x, w, b: torch.einsum("bilk,oik->bol", x.unfold(2, 3, 1), w) + b[:, None],
        [(2, 3, 6), (4, 3, 3), (4,)],
    ),
    "bilinear": (
        F.bilinear, lambda x, y, w, b: torch.einsum("bi,oij,bj->bo", x, w, y) + b, [(3, 4), (3, 5), (2, 4, 5), (2,)]
    ),
    "addmm": (torch.addmm, lambda b, x, y: b + x @ y, [(3, 5), (3, 4), (4, 5)]),
    "addmv": (torch.addmv, lambda b, x, y: b + x @ y, [(3,), (3, 4), (4,)]),
    "addr": (torch.addr, lambda b, x, y: b + x[:, None] * y, [(3, 4), (3,), (4,)]),
    "addbmm": (torch.addbmm, lambda b, x, y: b + (x @ y).sum(0), [(3, 5), (2, 3, 4), (2, 4, 5)]),
    "baddbmm": (
        lambda b, x, y: torch.baddbmm(b, x, y, beta=0.5, alpha=2.0), lambda b, x, y: 0.5 * b + 2.0 * (x @ y),
        [(2, 3, 5), (2, 3, 4), (2, 4, 5)],
    ),
    "addcmul": (
        lambda b, x, y: torch.addcmul(b, x, y, value=-2.0), lambda b, x, y: b - 2.0 * x * y, [(3, 4), (3, 4), (4,)]
    ),
    "addcdiv": (
        lambda b, x, y: torch.addcdiv(b, x, y, value=-2.0), lambda b, x, y: b - 2.0 * x / y, [(3, 4), (3, 4), (4,)]
    ),
    "lerp": (torch.lerp, lambda a, b, w: a + w * (b - a), [(3, 4), (3, 4), (4,)]),
    "cosine_similarity": (
        F.cosine_similarity, lambda x, y: (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)), [(3, 4), (3, 4)]
    ),
    "pairwise_distance": (F.pairwise_distance, lambda x, y: (x - y + 1e-6).norm(dim=1), [(3, 4), (3, 4)]),
    "cdist": (torch.cdist, lambda x, y: (x[:, None] - y).norm(dim=-1), [(3, 4), (5, 4)]),
    "pdist": (F.pdist, lambda x: (x[[0, 0, 1]] - x[[1, 2, 2]]).norm(dim=1), [(3, 4)]),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, (4,), w, b), lambda x, w, b: F.layer_norm(x, (4,)) * w + b, [(3, 4), (4,), (4,)]
    ),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w), lambda x, w: F.rms_norm(x, (4,)) * w, [(3, 4), (4,)]),
    "group_norm": (
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: F.group_norm(x, 2) * w[:, None] + b[:, None], [(3, 4, 5), (4,), (4,)],
    ),
    "instance_norm": (
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        lambda x, w, b: F.instance_norm(x) * w[:, None] + b[:, None], [(3, 4, 5), (4,), (4,)],
    ),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE, w, b),
        lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE) * w + b, [(3, 4), (4,), (4,)],
    ),
    "batch_norm with a computed shift": (
        lambda x, b: F.batch_norm(x, MEAN, VARIANCE, None, b),
        lambda x, b: F.batch_norm(x, MEAN, VARIANCE) + b, [(3, 4), (4,)],
    ),
    "batch_norm in training": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: F.batch_norm(x, None, None, training=True) * w + b, [(3, 4), (4,), (4,)],
    ),
    "torch.layer_norm": (
        lambda x, w, b: torch.layer_norm(x, (4,), w, b, 1e-5, False),
        lambda x, w, b: F.layer_norm(x, (4,)) * w + b, [(3, 4), (4,), (4,)],
    ),
    "torch.group_norm": (
        lambda x, w, b: torch.group_norm(x, 2, w, b, 1e-5, False),
        lambda x, w, b: F.group_norm(x, 2) * w[:, None] + b[:, None], [(3, 4, 5), (4,), (4,)],
    ),
    "torch.instance_norm": (
        lambda x, w, b: torch.instance_norm(x, w, b, None, None, True, 0.1, 1e-5, False),
        lambda x, w, b: F.instance_norm(x) * w[:, None] + b[:, None], [(3, 4, 5), (4,), (4,)],
    ),
    "torch.batch_norm": (
        lambda x, w, b: torch.batch_norm(x, w, b, MEAN, VARIANCE, False, 0.1, 1e-5, False),
        lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE) * w + b, [(3, 4), (4,), (4,)],
    ),
    "torch.embedding_bag": (
        lambda table, w: torch.embedding_bag(
            table, IN_A_ROW, torch.tensor([0, 2, 4]), False, 0, False, w.flatten()
        )[0],
        lambda table, w: (F.embedding(PLACES, table) * w[..., None]).sum(1), [(5, 4), (3, 2)],
    ),
    "clamp": (torch.clamp, lambda x, a, b: x.maximum(a).minimum(b), [(3, 4), (3, 4), (3, 4)]),
    "embedding_bag": (
        lambda table, w: F.embedding_bag(PLACES, table, per_sample_weights=w, mode="sum"),
        lambda table, w: (F.embedding(PLACES, table) * w[..., None]).sum(1), [(5, 4), (3, 2)],
    ),
    "xlogy": (lambda x, y: torch.xlogy(x, y.abs()), lambda x, y: x * y.abs().log(), [(3, 4), (4,)]),
    "xlog1py": (
        lambda x, y: torch.special.xlog1py(x, y.abs()), lambda x, y: x * y.abs().log1p(), [(3, 4), (4,)]
    ),
    "logaddexp": (torch.logaddexp, lambda x, y: (x.exp() + y.exp()).log(), [(3, 4), (4,)]),
    "hypot": (torch.hypot, lambda x, y: (x.square() + y.square()).sqrt(), [(3, 4), (3, 4)]),
    "prelu": (F.prelu, lambda x, w: torch.where(x > 0, x, w * x), [(3, 4), (4,)]),
    "glu": (F.glu, lambda x: x[:, :2] * x[:, 2:].sigmoid(), [(3, 4)]),
    "trapezoid": (
        torch.trapezoid, lambda y, x: ((y[1:] + y[:-1]) / 2 * (x[1:] - x[:-1])).sum(), [(5,), (5,)]
    ),
    "cross": (
        torch.linalg.cross, lambda x, y: x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1),
        [(2, 3), (2, 3)],
    ),
    "var": (lambda x: x.var(1), lambda x: (x - x.mean(1, keepdim=True)).square().sum(1) / 3, [(3, 4)]),
    "normalize": (F.normalize, lambda x: x / x.norm(dim=1, keepdim=True), [(3, 4)]),
    "renorm": (
        lambda x: torch.renorm(x, 2, 0, 0.5), lambda x: x * 0.5 / (x.norm(dim=1, keepdim=True) + 1e-7), [(3, 4)]
    ),
    "ldexp": (torch.ldexp, lambda x, y: x * y.exp2(), [(3, 4), (3, 4)]),
    "mse_loss": (F.mse_loss, lambda x, y: (x - y).square().mean(), [(3, 4), (3, 4)]),
    "mse_loss with weights": (
        lambda x, y, w: F.mse_loss(x, y, weight=w, reduction="sum"),
        lambda x, y, w: ((x - y).square() * w).sum(), [(3, 4), (3, 4), (3, 4)],
    ),
    "huber_loss with weights": (
        lambda x, y, w: F.huber_loss(x, y, "sum", 100.0, w),
        lambda x, y, w: ((x - y).square() * 0.5 * w).sum(), [(3, 4), (3, 4), (3, 4)],
    ),
    "gaussian_nll_loss": (
        lambda x, y, v: F.gaussian_nll_loss(x, y, v.abs()),
        lambda x, y, v: (0.5 * (v.abs().log() + (x - y).square() / v.abs())).mean(), [(3, 4), (3, 4), (3, 4)],
    ),
}  # fmt: skip
PLACES = torch.tensor([[0, 1], [2, 2], [4, 0]])
IN_A_ROW = PLACES.flatten()
MEAN, VARIANCE = torch.tensor([0.1, -0.2, 0.3, 0.0]).double(), torch.tensor([1.0, 2.0, 0.5, 1.5]).double()


BY_CONVENTION = {
    ("logaddexp", "lfp"): "the ordinary gradient, as for the softmax that it is the divisor of",
    ("normalize", "lfp"): "a mixture as a whole, as every normalisation",
    ("renorm", "lfp"): "an activation as a whole",
    ("mse_loss", "lfp"): "an objective: the ordinary gradient",
    ("mse_loss with weights", "lfp"): "an objective: the ordinary gradient",
    ("huber_loss with weights", "lfp"): "an objective: the ordinary gradient",
    ("gaussian_nll_loss", "lfp"): "an objective: the ordinary gradient",
}
NO_RULE = {("ldexp", "lrp"), ("ldexp", "lfp"), ("gaussian_nll_loss", "lrp")}
EXPLAINED = {"all": lambda place: True, "the first": lambda place: place == 0, "the others": lambda place: place > 0}


def operands(name):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64) for shape in CALLS[name][2]]


PASS = {
    ("batch_norm", "lrp"): "part of the layer before it where all else is constant: the shift takes nothing",
    ("batch_norm with a computed shift", "lrp"): "likewise",
    ("batch_norm in training", "lrp"): "likewise",
    ("torch.batch_norm", "lrp"): "likewise",
    ("clamp", "lrp"): "an activation where the bounds are constant",
    ("clamp", "lfp"): "likewise",
}
LEARN_OTHERWISE = {
    "hypot": "the square of a weight is a weight, and learns by the ordinary gradient",
    "clamp": "an activation where the bounds are weights",
}
CASES = [(name, rule, which) for name in CALLS for rule in RULES for which in EXPLAINED]


@pytest.mark.parametrize(("name", "rule", "which"), [case for case in CASES if case[:2] not in BY_CONVENTION])
def test_a_call_hands_back_what_its_parts_do(name, rule, which):
    """If all operands depend on the input, or the first alone, or all others."""
    call, parts, shapes = CALLS[name]
    tensors = [one.requires_grad_(EXPLAINED[which](place)) for place, one in enumerate(operands(name))]
    if which == "the others" and len(shapes) == 1:
        return
    whole, written = (RULES[rule](operators.from_call(function, tensors, {})) for function in (call, parts))
    torch.testing.assert_close(whole.output, written.output)
    assert not written.unknown
    if (name, rule) in NO_RULE:
        assert whole.unknown
        return
    assert not whole.unknown
    if which == "the first" and (name, rule) in PASS:
        written.R = [operators.from_call(call, tensors, {}).R.view(shapes[0])]
    assert laws.difference(whole.R, written.R) < 1e-6


class WithParameters(nn.Module):
    """A call whose operands are the input, where they depend on it, and parameters."""

    def __init__(self, function, tensors, is_input):
        super().__init__()
        self.function, self.is_input = function, is_input
        self.weights = nn.ParameterList([one for place, one in enumerate(tensors) if not is_input(place)])

    def forward(self, *inputs):
        given, learned = iter(inputs), iter(self.weights)
        count = len(inputs) + len(self.weights)
        return self.function(*[next(given if self.is_input(place) else learned) for place in range(count)])


@pytest.mark.parametrize("which", ["the first", "the others"])
@pytest.mark.parametrize(
    "name", [name for name in CALLS if (name, "lfp") not in {*BY_CONVENTION, *NO_RULE} and name not in LEARN_OTHERWISE]
)
def test_the_updates_of_a_call_are_those_of_its_parts(name, which):
    """Operands that are parameters learn as they do in the parts."""
    updates = []
    for function in CALLS[name][:2]:
        model = WithParameters(function, operands(name), EXPLAINED[which])
        inputs = [one for place, one in enumerate(operands(name)) if EXPLAINED[which](place)]
        if not inputs or not len(model.weights):
            return
        with altprop.LFP(epsilon=0, strict=True).attach(model):
            z = model(*[one.requires_grad_() for one in inputs])
        (z * torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype).view_as(z)).sum().backward()
        updates.append([*(w.grad for w in model.weights), *(one.grad for one in inputs)])
    for found, expected in zip(*updates, strict=True):
        torch.testing.assert_close(found, expected)


MODES = {"nearest": 2, "nearest-exact": 2, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3, "area": 2}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mode", MODES)
def test_interpolation_is_a_mixture_in_every_mode(mode, rule):
    torch.manual_seed(0)
    x = torch.randn(1, 2, *(4,) * MODES[mode], dtype=torch.float64, requires_grad=True)
    sample = operators.from_call(F.interpolate, (x,), {"scale_factor": 1.5, "mode": mode})
    handed = RULES[rule](sample)
    torch.testing.assert_close(handed.R, sample.times_gradient(sample.unit))
    torch.testing.assert_close(handed.R[0].sum(), sample.R.sum())


WITH_A_WEIGHT = {
    "linear": (lambda x, b: F.linear(x, WEIGHT, b), lambda x, b: F.linear(x, WEIGHT) + b),
    "conv1d": (
        lambda x, b: F.conv1d(x[..., None], WEIGHT[..., None], b)[..., 0], lambda x, b: F.linear(x, WEIGHT) + b
    ),
    "addmm": (lambda x, b: torch.addmm(b, x, WEIGHT.t()), lambda x, b: F.linear(x, WEIGHT) + b),
    "addmv": (lambda x, b: torch.addmv(b, WEIGHT, x[0]), lambda x, b: F.linear(x[0], WEIGHT) + b),
    "einsum": (lambda x, b: torch.einsum("bi,oi->bo", x, WEIGHT) + b, lambda x, b: F.linear(x, WEIGHT) + b),
}  # fmt: skip
WEIGHT = nn.Parameter(torch.linspace(-1, 1, 20, dtype=torch.float64).sin().view(5, 4))


@pytest.mark.parametrize("name", WITH_A_WEIGHT)
def test_a_layer_with_a_computed_bias_is_the_layer_by_its_rule_and_a_sum(name):
    """By the z⁺ rule, which is not the one of sums."""
    found = []
    torch.manual_seed(0)
    x, b = (torch.randn(shape, dtype=torch.float64) for shape in ((3, 4), (5,)))
    for function in WITH_A_WEIGHT[name]:
        model = operators.Model(function)
        z = model(x.clone().requires_grad_(), b.clone().requires_grad_()).detach()
        found.append(altprop.LRP(model, ZPlus(epsilon=1e-13)).attribute((x, b), z))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
