"""Modules that are one operation: which are recognised, and that the rule is that of the whole."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import activations
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

import altprop
from altprop.ops.whole_modules import kind_of
from tests.rules.test_lfp import attach_quietly

NORMS = [LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm, GemmaRMSNorm, Phi3RMSNorm, T5LayerNorm]
SPREAD = ["NewGELU", "FastGELU", "QuickGELU", "AccurateGELU", "Laplace", "ReLUSquared", "SqrtSoftplus"]
EPSILON = 1e-3


class GatedRMSNorm(nn.Module):
    """Not one operation: it holds a layer, and what that does is not a normalisation's."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(6, 6)


@pytest.mark.parametrize("norm", NORMS)
def test_normalisations_are_recognised(norm):
    assert kind_of(norm(6)) == "mixture"


@pytest.mark.parametrize("name", SPREAD)
def test_activations_that_are_spread_over_functions_are_recognised(name):
    assert kind_of(getattr(activations, f"{name}Activation")()) == "activation"


@pytest.mark.parametrize(
    "module", [nn.RMSNorm(6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 6), GatedRMSNorm()], ids=repr
)
def test_other_modules_are_not(module):
    assert kind_of(module) is None


def rewards(model, x, g):
    """The reward at the output of the first layer, and the update of the second's parameters."""
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output) or output.retain_grad())
    with attach_quietly(altprop.LFP(EPSILON, strict=True), model):
        model(x).backward(g)
    return seen[0].detach(), -seen[0].grad * seen[0].detach(), [-p.grad for p in model[1].parameters()]


@pytest.mark.parametrize("norm", NORMS)
def test_a_normalisation_shares_the_reward_in_proportion(norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), norm(6))
    with torch.no_grad():
        model[1].weight.normal_()
    x, g = torch.randn(3, 4), torch.randn(3, 6)
    a, at_a, (update,) = rewards(model, x, g)
    z = model[1](a).detach()
    normed = -g * z / (z + EPSILON * torch.where(z < 0, -1.0, 1.0))
    run = lambda a, w: torch.func.functional_call(model[1], {"weight": w}, (a,))  # noqa: E731
    w = model[1].weight.detach()
    by_a, by_w = torch.autograd.functional.jacobian(run, (a, w))
    # The credit is taken where the linear layer hands its output on: before that layer's own factor.
    expected = a * torch.tensordot(normed, by_a, 2) * (a.abs() / (a.abs() + EPSILON))
    torch.testing.assert_close(at_a, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(update, w.abs() * torch.tensordot(normed, by_w, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPREAD)
def test_an_activation_passes_the_reward(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), getattr(activations, f"{name}Activation")()).double()
    x, g = torch.randn(3, 4).double(), torch.randn(3, 6).double()
    a, at_a, _ = rewards(model, x, g)
    reward = -g * model[1](a).detach()
    torch.testing.assert_close(at_a, reward * (a.abs() / (a.abs() + EPSILON)), rtol=1e-9, atol=1e-12)


def test_the_sign_of_an_activation_may_change_on_the_way():
    """As rotary embeddings do: no stabiliser is added where nothing is summed."""
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    class Turned(nn.Module):
        def forward(self, a):
            return -(a * 3.0)

    with altprop.LFP(0.5, strict=True).attach(Turned()) as attachment:
        attachment.model(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, -3.0))


@pytest.mark.parametrize("function", [torch.addmm, lambda b, x, y: torch.baddbmm(b, x[None], y[None])[0]])
def test_a_sum_with_a_product_of_two_activations_gives_half_to_each_factor(function):
    torch.manual_seed(0)
    b, x, y = (torch.randn(3, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    class Scores(nn.Module):
        def forward(self, b, x, y):
            return function(b, x, y)

    with altprop.LFP(0, strict=True).attach(Scores()) as attachment:
        found = torch.autograd.grad(attachment.model(b, x, y).sum(), (b, x, y))
    plain = torch.autograd.grad(function(b, x, y).sum(), (b, x, y))
    for one, other, part in zip(found, plain, (1.0, 0.5, 0.5), strict=True):
        torch.testing.assert_close(one, part * other)


def test_a_linear_layer_that_keeps_its_weight_transposed_is_a_linear_layer():
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415

    torch.manual_seed(0)
    linear, transposed = nn.Linear(4, 3), Conv1D(3, 4)
    with torch.no_grad():
        transposed.weight.copy_(linear.weight.t())
        transposed.bias.copy_(linear.bias)
    x, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    for layer in (linear, transposed):
        with altprop.LFP(EPSILON, strict=True).attach(layer):
            F.cross_entropy(layer(x), labels).backward()
    torch.testing.assert_close(transposed.weight.grad.t(), linear.weight.grad)
    torch.testing.assert_close(transposed.bias.grad, linear.bias.grad)
