"""The γ rule, the Hebbian and Oja updates, minimum_scale, products and attention, each against its formula in loops."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from tests.lfp_oracle import sign
from tests.rules.test_lfp import attach_quietly

EPSILON = 1e-3


def rewards_and_updates(model, x, rule, seed=1):
    """Minus .grad of each parameter, and the reward at the input, for a random teaching signal."""
    torch.manual_seed(seed)
    x = x.clone().requires_grad_()
    with attach_quietly(rule, model):
        output = model(x)
        output.backward(torch.randn_like(output))
    updates = {name: -p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return updates, -x.grad * x.detach()


def teaching_reward(output, seed=1):
    torch.manual_seed(seed)
    return -output * torch.randn_like(output)


def gamma_linear(w, b, a, reward, gamma, epsilon):
    """One layer of LFP-γ as in the docstring of gamma_sum, summand by summand."""
    reward_in = torch.zeros_like(a)
    for n, j in itertools.product(range(a.shape[0]), range(w.shape[0])):
        z = sum(a[n, i] * w[j, i] for i in range(w.shape[1])) + b[j]
        favoured = (lambda v: v + gamma * max(v, 0)) if z > 0 else (lambda v: v + gamma * min(v, 0))
        hindered = (lambda v: v + gamma * min(v, 0)) if z > 0 else (lambda v: v + gamma * max(v, 0))
        parts = [a[n, i] * (favoured if a[n, i] > 0 else hindered)(w[j, i]) for i in range(w.shape[1])]
        total = sum(parts) + favoured(b[j])
        for i, part in enumerate(parts):
            reward_in[n, i] += part * reward[n, j] / (total + epsilon * sign(total))
    return reward_in


def test_gamma_sends_credit_through_the_modified_weights_and_updates_by_epsilon():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    found, found_input = rewards_and_updates(model, x, altprop.LFP(EPSILON, gamma=0.5))

    first, _, last = (copy.deepcopy(layer) for layer in model)
    with torch.no_grad():
        hidden = first(x)
        a = hidden.tanh()
        output = last(a)
        reward = teaching_reward(output)
        normed = reward / (output + EPSILON * sign(output))
        torch.testing.assert_close(found["2.weight"], last.weight.abs() * (normed.T @ a), rtol=1e-10, atol=1e-12)
        hidden_reward = gamma_linear(last.weight, last.bias, a, reward, 0.5, EPSILON)
        normed = hidden_reward / (hidden + EPSILON * sign(hidden))
        torch.testing.assert_close(found["0.weight"], first.weight.abs() * (normed.T @ x), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found["0.bias"], first.bias.abs() * normed.sum(0), rtol=1e-10, atol=1e-12)
        expected_input = gamma_linear(first.weight, first.bias, x, hidden_reward, 0.5, EPSILON)
    torch.testing.assert_close(found_input, expected_input, rtol=1e-10, atol=1e-12)


def test_gamma_on_a_convolution_is_gamma_on_the_linear_layer_that_does_the_same():
    torch.manual_seed(0)
    linear = nn.Linear(2 * 3 * 3, 4).double()
    convolution = nn.Conv2d(2, 4, 3).double()
    with torch.no_grad():
        convolution.weight.copy_(linear.weight.view_as(convolution.weight))
        convolution.bias.copy_(linear.bias)
    x = torch.randn(3, 18, dtype=torch.float64)
    rule = altprop.LFP(EPSILON, gamma=0.25)
    by_linear, input_of_linear = rewards_and_updates(linear, x, rule)
    by_convolution, input_of_convolution = rewards_and_updates(convolution, x.view(3, 2, 3, 3), rule)
    torch.testing.assert_close(by_linear["weight"], by_convolution["weight"].flatten(1), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(input_of_linear, input_of_convolution.flatten(1), rtol=1e-10, atol=1e-14)


def test_gamma_zero_is_the_epsilon_rule():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)).double()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    tiny, plain = altprop.LFP(EPSILON, gamma=1e-14), altprop.LFP(EPSILON)
    for one, other in zip(*(rewards_and_updates(model, x, rule)[0].values() for rule in (tiny, plain)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


SUMS = {
    "linear": (nn.Linear(4, 3), (2, 4), 1),
    "linear-sequence": (nn.Linear(4, 3), (2, 5, 4), 2),
    "conv": (nn.Conv2d(2, 4, 2, stride=2, padding=1, groups=2), (2, 2, 4, 4), 1),
    "conv1d-unbatched": (nn.Conv1d(2, 3, 2), (2, 5), 0),
    "conv-transpose": (nn.ConvTranspose2d(2, 4, 2, stride=2, groups=2), (2, 2, 3, 3), 1),
}


def channel_of_weight(layer, index):
    """The output channel that a weight feeds."""
    if not isinstance(layer, nn.ConvTranspose2d):
        return index[0]
    group = index[0] // (layer.in_channels // layer.groups)
    return group * (layer.out_channels // layer.groups) + index[1]


@pytest.mark.parametrize("update", ["hebbian", "oja"])
@pytest.mark.parametrize("name", SUMS)
def test_hebbian_and_oja_updates_equal_their_formula(name, update):
    torch.manual_seed(0)
    layer, shape, channel_dim = SUMS[name]
    layer = copy.deepcopy(layer).double()
    x = torch.randn(shape, dtype=torch.float64)
    found, found_input = rewards_and_updates(layer, x, altprop.LFP(EPSILON, update=update))

    w, b = (p.detach() for p in layer.parameters())
    run = lambda w, b: torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,))  # noqa: E731
    z = run(w, b)
    reward = teaching_reward(z)
    presynaptic, presynaptic_of_bias = torch.autograd.functional.jacobian(run, (w, b))  # a at every weight's input
    expected, expected_bias = torch.zeros_like(w), torch.zeros_like(b)
    for where in itertools.product(*map(range, z.shape)):
        z_j, r_j, channel = z[where], reward[where], where[channel_dim]
        for index in itertools.product(*map(range, w.shape)):
            decay = z_j * w[index] if update == "oja" and channel_of_weight(layer, index) == channel else 0.0
            expected[index] += w[index].abs() * r_j * z_j * (presynaptic[(*where, *index)] - decay)
        decay = z_j * b[channel] if update == "oja" else 0.0
        expected_bias[channel] += b[channel].abs() * r_j * z_j * (presynaptic_of_bias[(*where, channel)] - decay)
    torch.testing.assert_close(found["weight"], expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found["bias"], expected_bias, rtol=1e-10, atol=1e-12)
    # The reward that flows on is the ε rule's, whatever the update.
    torch.testing.assert_close(found_input, rewards_and_updates(layer, x, altprop.LFP(EPSILON))[1])


def test_minimum_scale_moves_weights_that_are_zero():
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    nn.init.zeros_(model.bias)
    x = torch.randn(2, 4, dtype=torch.float64)
    floor, plain = (rewards_and_updates(model, x, altprop.LFP(minimum_scale=m))[0] for m in (0.1, 0.0))
    assert not plain["bias"].any()
    assert floor["bias"].all()
    ratio = floor["weight"] / plain["weight"]
    torch.testing.assert_close(ratio, model.weight.detach().abs().clamp(min=0.1) / model.weight.detach().abs())


class Product(nn.Module):
    def __init__(self, combine):
        super().__init__()
        self.first, self.second, self.combine = nn.Linear(4, 4), nn.Linear(4, 4), combine

    def forward(self, x):
        return self.combine(self.first(x), self.second(x))


@pytest.mark.parametrize(
    "combine",
    [
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: a.clone().mul_(b),
        lambda a, b: a @ b.T,
        lambda a, b: torch.einsum("ij,kj->ik", a, b),
        lambda a, b: F.glu(torch.cat([a, b], -1)),
    ],
    ids=["mul", "div", "mul_", "matmul", "einsum", "glu"],
)
def test_each_factor_of_a_product_gets_half_of_the_reward(combine):
    torch.manual_seed(0)
    model = Product(combine).double()
    seen = {}
    for layer in (model.first, model.second):
        layer.register_forward_hook(lambda module, args, output: seen.update({module: output}) or output.retain_grad())
    with altprop.LFP(epsilon=1e-12).attach(model):
        output = model(torch.randn(3, 4, dtype=torch.float64))
        g = torch.randn_like(output)
        output.backward(g)
    first, second = ((seen[layer].grad * seen[layer]).sum() for layer in (model.first, model.second))
    total = (g * output).sum()
    torch.testing.assert_close(
        torch.stack([first, second]), torch.stack([total / 2, total / 2]).detach(), rtol=1e-8, atol=0
    )


def eager_attention(q, k, v):
    return F.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1) @ v


@pytest.mark.parametrize("attend", [F.scaled_dot_product_attention, eager_attention])
def test_attention_halves_the_credit_at_each_product(attend):
    torch.manual_seed(0)
    leaves = [torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    class Attention(nn.Module):
        def forward(self, q, k, v):
            return attend(q, k, v)

    with altprop.LFP(epsilon=0).attach(Attention()) as attachment:
        output = attachment.model(*leaves)
    g = torch.randn_like(output)
    found = torch.autograd.grad(output, leaves, g)
    plain = torch.autograd.grad(F.scaled_dot_product_attention(*leaves), leaves, g)
    for one, other, part in zip(found, plain, (0.25, 0.25, 0.5), strict=True):
        torch.testing.assert_close(one, part * other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"kdim": 6, "vdim": 7},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"batch_first": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_is_computed_as_torch_computes_it(options, need_weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, **options).double()
    query = torch.randn(3, 3, 8, dtype=torch.float64)
    key = torch.randn(3, 3, options.get("kdim", 8), dtype=torch.float64)
    value = torch.randn(3, 3, options.get("vdim", 8), dtype=torch.float64)
    calls = [
        {},
        {"attn_mask": torch.ones(3, 3, dtype=torch.bool).triu(1)},
        {"attn_mask": torch.randn(6, 3, 3, dtype=torch.float64)},
        {"key_padding_mask": torch.tensor([[False, False, True]] * 3)},
        {
            "attn_mask": torch.randn(3, 3, dtype=torch.float64),
            "key_padding_mask": torch.zeros(3, 3, dtype=torch.float64),
        },
    ]
    for call in calls:
        expected = layer(query, key, value, need_weights=need_weights, **call)
        with attach_quietly(altprop.LFP(strict=True), layer):
            found = layer(query, key, value, need_weights=need_weights, **call)
        torch.testing.assert_close(found, expected)
    expected = layer(query[:, 0], key[:, 0], value[:, 0], need_weights=need_weights)
    with attach_quietly(altprop.LFP(strict=True), layer):
        torch.testing.assert_close(layer(query[:, 0], key[:, 0], value[:, 0], need_weights=need_weights), expected)


def test_prelu_passes_the_reward_and_teaches_its_slope():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 2)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    found, _ = rewards_and_updates(model, x, altprop.LFP(EPSILON))
    with torch.no_grad():
        z = model[0](x)
        a = model[1](z)
        output = model[2](a)
        reward = a * ((teaching_reward(output) / (output + EPSILON * sign(output))) @ model[2].weight)
        normed = reward / (z + EPSILON * sign(z))
        torch.testing.assert_close(found["0.weight"], model[0].weight.abs() * (normed.T @ x), rtol=1e-10, atol=1e-12)
        slope = torch.where(z < 0, z * reward / a, 0).sum(0) * model[1].weight.abs()
        torch.testing.assert_close(found["1.weight"], slope, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 0}, {"max_norm": 1.0}, {"sparse": True}], ids=str)
def test_an_embedding_is_a_weighted_sum_over_a_one_hot_input(options):
    torch.manual_seed(0)
    embedding = nn.Embedding(5, 3, **options).double()
    indices = torch.tensor([[0, 1], [1, 4]])
    with altprop.LFP(EPSILON).attach(embedding):
        output = embedding(indices)
        g = torch.randn_like(output)
        output.backward(g)
    w = embedding.weight.detach()
    expected = torch.zeros_like(w)
    for where in itertools.product(range(2), range(2)):
        row = indices[where]
        if options.get("padding_idx") != row:
            expected[row] += w[row].abs() * g[where] * w[row] / (w[row] + EPSILON * sign(w[row]))
    found = embedding.weight.grad
    torch.testing.assert_close(found.to_dense() if options.get("sparse") else found, expected, rtol=1e-10, atol=1e-12)


def test_replicas_of_data_parallel_are_refused():
    model = nn.Linear(4, 3)
    with altprop.LFP().attach(model), pytest.raises(RuntimeError, match="DistributedDataParallel"):
        model._replicate_for_data_parallel()(torch.randn(2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": -1}, "epsilon must be a finite number"),
        ({"gamma": float("nan")}, "gamma must be a finite number"),
        ({"update": "hebb"}, "'reward', 'hebbian' or 'oja'"),
        ({"gamma": 0.1, "update": "oja"}, "choose one"),
    ],
)
def test_wrong_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        altprop.LFP(**arguments)
