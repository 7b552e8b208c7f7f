"""altprop.LRP hands back what LXT 2.1 hands back for transformers. Run by ``make parity``, in a process of its own.

LXT's efficient rules patch classes so that gradient times input is the relevance: they have no stabilisers, but for
1e-10 in activations. Ours are set to next to nothing here, and everything is in float64. (The environment's own lxt
is older, because lfprop needs it, and has no ``lxt.efficient``: ``make parity`` puts the newer one first on the
path.)
"""

import warnings

import pytest
import torch
from lxt.efficient import monkey_patch, monkey_patch_zennit
from lxt.efficient.models import gpt2, vit_torch
from lxt.efficient.patches import wrap_attention_forward
from torch import nn
from torch.nn import functional as F
from torchvision.models import vision_transformer
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.models.gpt2 import modeling_gpt2
from zennit.composites import LayerMapComposite
from zennit.core import BasicHook
from zennit.rules import Gamma

import altprop
from altprop.explain import LAYERS, Composite, composites, rules

TINY = 1e-12
PATCHED = {
    nn.LayerNorm: ["forward"],
    nn.Dropout: ["forward"],
    nn.GELU: ["forward", "original_forward"],
    nn.MultiheadAttention: ["forward", "original_forward"],
    modeling_gpt2.GPT2MLP: ["forward"],
    modeling_gpt2: ["eager_attention_forward", "ALL_ATTENTION_FUNCTIONS"],
    BasicHook: ["forward", "backward"],
    F: ["scaled_dot_product_attention"],
}


@pytest.fixture
def lxt_patches():
    """Whatever LXT patches within is as it was afterwards: its patches hold for the whole process."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in PATCHED.items():
            for name in names:
                patch.setattr(owner, name, getattr(owner, name, None), raising=False)
        functions = modeling_gpt2.ALL_ATTENTION_FUNCTIONS
        patch.setattr(modeling_gpt2, "ALL_ATTENTION_FUNCTIONS", dict(functions.items()))
        yield patch


def patched_by_lxt(*call):
    """``monkey_patch(*call)``, which only warns where it fails to patch."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkey_patch(*call)


def gradient_times_input(output, x):
    return torch.autograd.grad(output, x)[0] * x.detach()


@pytest.fixture(params=["eager", "sdpa"])
def language_model(request, stir):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, use_cache=False
    )
    config._attn_implementation = request.param
    return stir(GPT2LMHeadModel(config)).eval().double(), torch.randint(40, (2, 7))


@pytest.mark.parametrize(
    ("composite", "patches"), [(composites.attn_lrp, gpt2.attnLRP), (composites.cp_lrp, gpt2.cp_LRP)]
)
def test_gpt2_is_lxts(composite, patches, language_model, request, assert_agree):
    model, tokens = language_model
    position, word = 5, 11
    vectors = model.get_input_embeddings()(tokens).detach()
    lrp = altprop.LRP(model, composite(epsilon=TINY, stabiliser=TINY), strict=True)
    found = lrp.attribute({"inputs_embeds": vectors}, target=(position, word))["inputs_embeds"]
    per_token = lrp.attribute({"input_ids": tokens}, target=(position, word))["input_ids"]

    request.getfixturevalue("lxt_patches")
    patched_by_lxt(modeling_gpt2, patches)
    leaf = vectors.clone().requires_grad_()
    expected = gradient_times_input(model(inputs_embeds=leaf).logits[:, position, word].sum(), leaf)
    assert_agree(found, expected)
    assert_agree(per_token, expected.sum(-1))


@pytest.fixture
def image_model(stir):
    torch.manual_seed(0)
    model = vision_transformer.VisionTransformer(
        image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )
    for zeros in (model.heads.head.weight, model.class_token):  # as they are to begin with
        nn.init.normal_(zeros)
    return stir(model).eval().double(), torch.randn(3, 3, 16, 16, dtype=torch.float64)


def attn_lrp_patches(patch):
    """LXT has a map for CP-LRP alone here. This is AttnLRP, of the parts that LXT has for language models."""
    fused = F.scaled_dot_product_attention
    wrapped = wrap_attention_forward(lambda module, *args, **kwargs: fused(*args, **kwargs))
    patch.setattr(F, "scaled_dot_product_attention", lambda *args, **kwargs: wrapped(None, *args, **kwargs))
    return {kind: way for kind, way in vit_torch.cp_LRP.items() if kind is not nn.MultiheadAttention}


@pytest.mark.parametrize(
    ("composite", "patches"),
    [(composites.attn_lrp, attn_lrp_patches), (composites.cp_lrp, lambda patch: vit_torch.cp_LRP)],
)
def test_vision_transformer_is_lxts(composite, patches, image_model, request, assert_agree):
    model, x = image_model
    found = altprop.LRP(model, composite(epsilon=TINY, stabiliser=TINY), strict=True).attribute(x, target=3)

    patched_by_lxt(vision_transformer, patches(request.getfixturevalue("lxt_patches")))
    leaf = x.clone().requires_grad_()
    assert_agree(found, gradient_times_input(model(leaf)[:, 3].sum(), leaf))


def test_gamma_in_a_vision_transformer_is_lxts(image_model, request, assert_agree):
    """With zennit's γ on the modules, as LXT recommends; the projections within attention are no modules to it."""
    model, x = image_model
    pairs = [
        ("*self_attention*", rules.Epsilon(TINY)),
        (nn.Conv2d, rules.Gamma(0.25, epsilon=TINY)),
        (LAYERS, rules.Gamma(0.05, epsilon=TINY)),
    ]
    found = altprop.LRP(model, Composite(pairs, attention="cp", stabiliser=TINY)).attribute(x, target=3)

    request.getfixturevalue("lxt_patches")
    patched_by_lxt(vision_transformer)
    monkey_patch_zennit()
    theirs = [(nn.Conv2d, Gamma(0.25, stabilizer=TINY)), (nn.Linear, Gamma(0.05, stabilizer=TINY))]
    with LayerMapComposite(theirs).context(model) as modified:
        leaf = x.clone().requires_grad_()
        expected = gradient_times_input(modified(leaf)[:, 3].sum(), leaf)
    assert_agree(found, expected)
