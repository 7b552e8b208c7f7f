"""altprop.LFP hands back what lfprop 1.0.0 hands back on a ViT of Hugging Face. Run by ``make parity``."""

import copy
import operator
import warnings

import pytest
import torch
from lfprop.propagation.propagator_vit import LFPEpsilonComposite, div2_fn
from lfprop.rewards import reward_functions
from lxt import functional
from lxt.core import Composite, HFTracer
from lxt.rules import WrapModule
from torch import nn
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit import modeling_vit

import altprop

# Alike everywhere, and small: lxt adds ε to sums and products without regard to their sign. (Left alone, lfprop has 1
# for layers here, and lxt 1e-6 for sums and products.)
EPSILON = 1e-9


def divided_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Eager attention as lfprop was written for it: its rules are for the operators ``@`` and ``/``."""
    scores = query @ key.transpose(-1, -2) / (1 / scaling)
    weights = nn.functional.softmax(scores, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Tracer(HFTracer):
    """lxt's, which would trace into lfprop's rules for layers and past what they do backward."""

    def is_leaf_module(self, module, name):
        return isinstance(module, WrapModule) or super().is_leaf_module(module, name)


# lfprop's rules for functions, called as the current torch calls them.


def add_tensors(a, b):
    return functional.add2(a, b, False, EPSILON) if isinstance(a, torch.Tensor) else a + b  # or two shapes


def divide(a, b):
    return div2_fn.apply(a, b)


def matrix_product(a, b):
    return functional.matmul(a, b, False, EPSILON)


def softmax(a, dim, **_):
    return functional.softmax(a, dim)


@pytest.fixture
def pair(monkeypatch):
    """The same network twice, in double precision, the embeddings frozen: lfprop does not teach them."""
    monkeypatch.setattr(modeling_vit, "eager_attention_forward", divided_attention)
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=8, patch_size=4,
        num_channels=1, num_labels=10, attn_implementation="eager",
    )  # fmt: skip
    theirs = ViTForImageClassification(config).double().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    theirs.vit.embeddings.requires_grad_(False)
    return theirs, copy.deepcopy(theirs)


def test_cross_entropy_gives_lfprops_feedback(pair):
    theirs, ours = pair
    torch.manual_seed(1)
    x, labels = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.arange(4)

    their_x = x.clone().requires_grad_()
    # The composite's own ``context`` drops the traced model that lxt returns, and with it the rules of sums, products
    # and the softmax. Here it is the traced model that runs.
    composite = LFPEpsilonComposite(epsilon=EPSILON)
    composite.layer_map |= {
        operator.add: add_tensors, operator.truediv: divide, operator.matmul: matrix_product,
        nn.functional.softmax: softmax,
    }  # fmt: skip
    modified = Composite.register(composite, theirs, {"pixel_values": x}, tracer=Tracer, no_grad=False)
    output = modified(pixel_values=their_x)["logits"]
    reward = reward_functions.SoftmaxLossReward(device="cpu")(output, labels).detach()
    (their_reward,) = torch.autograd.grad((output,), (their_x,), grad_outputs=(reward,))
    composite.remove()
    feedback = {name: p.feedback for name, p in theirs.named_parameters() if p.requires_grad}

    our_x = x.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attachment = altprop.LFP(EPSILON, strict=True).attach(ours)
    with attachment:
        nn.functional.cross_entropy(ours(pixel_values=our_x).logits, labels, reduction="sum").backward()
    updates = {name: -p.grad for name, p in ours.named_parameters() if p.requires_grad}

    assert updates.keys() == feedback.keys()
    for name, value in (feedback | {"input": their_reward}).items():
        found = -our_x.grad * x if name == "input" else updates[name]
        if name.endswith("key.bias"):  # a shift of all keys changes no attention: both find zero, but for rounding
            continue
        error = (found - value).norm() / value.norm()
        assert error < 1e-5, f"{name}: relative error {error:.1e}"
