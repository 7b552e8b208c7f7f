"""LFP on transformers as they are: against the slow oracle, strictly, fused and eager, embeddings frozen or not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import EncoderBlock
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import altprop
from tests.rules.test_lfp import attach_quietly
from tests.tiny_transformers import GROUPS, HEADS, LANGUAGE, VISION, batch, logits_of, make
from tests.transformer_oracle import Tape, heads, joined, layer_norm, rms_norm, rotated

EPSILON = 1e-3
POSITIONS = 5


def gelu(tape, z, tanh=False):
    return tape.activation(lambda z: F.gelu(z, approximate="tanh" if tanh else "none"), z)


def torchvision_block(block, tape, x):
    attention = block.self_attention
    a = layer_norm(tape, x, block.ln_1)
    w, b = attention.in_proj_weight, attention.in_proj_bias
    q, k, v = (tape.moved(lambda a, i=i: a.chunk(3, -1)[i], qkv) for qkv in [tape.linear(a, w, b)] for i in range(3))
    mixed = joined(tape, tape.attention(*(heads(tape, part, HEADS) for part in (q, k, v)), causal=False))
    x = tape.add(tape.linear(mixed, attention.out_proj.weight, attention.out_proj.bias), x)
    a = layer_norm(tape, x, block.ln_2)
    a = gelu(tape, tape.linear(a, block.mlp[0].weight, block.mlp[0].bias))
    return tape.add(x, tape.linear(a, block.mlp[3].weight, block.mlp[3].bias))


def vit_block(block, tape, x):
    a, attention = layer_norm(tape, x, block.layernorm_before), block.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (heads(tape, tape.linear(a, layer.weight, layer.bias), HEADS) for layer in projections)
    mixed = joined(tape, tape.attention(q, k, v, causal=False))
    x = tape.add(tape.linear(mixed, attention.o_proj.weight, attention.o_proj.bias), x)
    a = layer_norm(tape, x, block.layernorm_after)
    a = gelu(tape, tape.linear(a, block.mlp.fc1.weight, block.mlp.fc1.bias))
    return tape.add(tape.linear(a, block.mlp.fc2.weight, block.mlp.fc2.bias), x)


def gpt2_block(block, tape, x):
    def conv1d(a, layer):  # a linear layer that keeps its weight as (in, out)
        weight = nn.Parameter(layer.weight.detach().t())
        tape.aliases[id(weight)] = layer.weight
        return tape.linear(a, weight, layer.bias)

    qkv = conv1d(layer_norm(tape, x, block.ln_1), block.attn.c_attn)
    parts = (tape.moved(lambda a, i=i: a.chunk(3, -1)[i], qkv) for i in range(3))
    mixed = joined(tape, tape.attention(*(heads(tape, part, HEADS) for part in parts), causal=True))
    x = tape.add(conv1d(mixed, block.attn.c_proj), x)
    a = gelu(tape, conv1d(layer_norm(tape, x, block.ln_2), block.mlp.c_fc), tanh=True)
    return tape.add(x, conv1d(a, block.mlp.c_proj))


def llama_block(block, tape, x):
    attention, norm = block.self_attn, block.input_layernorm
    a = rms_norm(tape, x, norm.weight, norm.variance_epsilon)
    cos, sin = rotary_positions()
    q = rotated(tape, heads(tape, tape.linear(a, attention.q_proj.weight), HEADS), cos, sin)
    k = rotated(tape, heads(tape, tape.linear(a, attention.k_proj.weight), GROUPS), cos, sin)
    v = heads(tape, tape.linear(a, attention.v_proj.weight), GROUPS)
    k, v = (tape.moved(lambda a: a.repeat_interleave(HEADS // GROUPS, 0), part) for part in (k, v))
    x = tape.add(tape.linear(joined(tape, tape.attention(q, k, v, causal=True)), attention.o_proj.weight), x)
    a = rms_norm(tape, x, block.post_attention_layernorm.weight, norm.variance_epsilon)
    gate = tape.activation(F.silu, tape.linear(a, block.mlp.gate_proj.weight))
    a = tape.product(gate, tape.linear(a, block.mlp.up_proj.weight))
    return tape.add(x, tape.linear(a, block.mlp.down_proj.weight))


def rotary_positions():
    angles = torch.outer(torch.arange(POSITIONS), torch.tensor([1.0, 0.1])).repeat(1, 2).double()
    return angles.cos(), angles.sin()


class DoubleRMSNorm(LlamaRMSNorm):
    """Llama's normalisation computes in single precision, whatever it is given: here in double, to be compared."""

    def forward(self, a):
        return self.weight * a * (a.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()


def llama_layer():
    block = make("llama").model.layers[0]
    for name in ("input_layernorm", "post_attention_layernorm"):
        norm = getattr(block, name)
        double = DoubleRMSNorm(len(norm.weight), norm.variance_epsilon)
        double.weight = norm.weight
        setattr(block, name, double)
    return block


def first_output(output):
    return output[0] if isinstance(output, tuple) else output


BLOCKS = {
    "torchvision-vit": (lambda: make("torchvision-vit").encoder.layers[0], torchvision_block, {}),
    "vit": (lambda: make("vit").vit.layers[0], vit_block, {}),
    "gpt2": (lambda: make("gpt2").transformer.h[0], gpt2_block, {}),
    "llama": (llama_layer, llama_block, {"position_embeddings": tuple(part[None] for part in rotary_positions())}),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_equals_the_formula_reward_by_reward(name):
    build, slowly, kwargs = BLOCKS[name]
    block = build().double().eval()
    x = torch.randn(1, POSITIONS, 16, dtype=torch.float64, requires_grad=True)
    with attach_quietly(altprop.LFP(EPSILON, strict=True), block):
        output = first_output(block(x, **kwargs))
    g = torch.randn_like(output)
    output.backward(g)

    tape, start = Tape(EPSILON), x.detach()[0]
    slow_output = slowly(block, tape, start)
    torch.testing.assert_close(slow_output, output.detach()[0], rtol=1e-10, atol=1e-12)
    tape.give(slow_output, -g[0] * slow_output.detach())
    tape.walk()
    found = {name: -parameter.grad for name, parameter in block.named_parameters()} | {"input": -x.grad * x.detach()}
    expected = {name: tape.update_of(p) for name, p in block.named_parameters()} | {"input": tape.reward(start)[None]}
    for key, value in expected.items():
        error = (found[key] - value).norm() / value.norm()
        assert error < 1e-9, f"{key}: relative error {error:.1e}"


def test_the_torchvision_block_is_the_one_that_vit_b_16_is_made_of():
    from torchvision.models import vit_b_16  # noqa: PLC0415

    with torch.device("meta"):
        assert isinstance(vit_b_16().encoder.layers[0], EncoderBlock)
    assert isinstance(make("torchvision-vit").encoder.layers[0], EncoderBlock)


def gradients(name, attention="sdpa", rule=None, frozen=(), dtype=torch.float32):
    model = make(name, attention).eval().to(dtype)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(not parameter_name.startswith(tuple(frozen)) if frozen else True)
    rule = rule or altprop.LFP(strict=True)
    with attach_quietly(rule, model):
        inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in batch(name).items()}
        logits = logits_of(model(**inputs))
        F.cross_entropy(logits.flatten(0, -2).double(), torch.arange(logits[..., 0].numel()) % 10).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [*VISION, *LANGUAGE])
def test_every_operation_has_a_rule_and_every_parameter_is_taught(name, attention):
    for key, gradient in gradients(name, attention).items():
        assert gradient.isfinite().all(), key
        # A shift of all keys shifts all scores of a query, which the softmax does not see.
        assert gradient.any() or key.endswith("k_proj.bias"), key


@pytest.mark.parametrize("name", ["vit", *(name for name in LANGUAGE if name != "gemma2")])
def test_fused_and_eager_attention_agree(name):
    # Eager attention stabilises its scores too, which a fused kernel does not show: they agree as ε goes to 0.
    rule = altprop.LFP(1e-10, strict=True)
    fused, eager = (gradients(name, attention, rule, dtype=torch.float64) for attention in ("sdpa", "eager"))
    for key, value in fused.items():
        if not key.endswith("k_proj.bias"):
            error = (value - eager[key]).norm() / value.norm()
            assert error < 1e-5, f"{key}: relative error {error:.1e}"


@pytest.mark.parametrize("name", ["vit", "gpt2", "llama"])
def test_fused_attention_stays_fused(name):
    operations = {o.name.split(".")[-1] for o in altprop.inspect(make(name), batch(name), altprop.LFP())}
    assert "scaled_dot_product_attention" in operations
    assert "softmax" not in operations


EMBEDDINGS = {
    "torchvision-vit": ("conv_proj", "class_token", "encoder.pos_embedding"),
    "vit": ("vit.embeddings",),
    "gpt2": ("transformer.wte", "transformer.wpe"),
    "llama": ("model.embed_tokens",),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_may_be_frozen(name):
    trained, frozen = gradients(name), gradients(name, frozen=EMBEDDINGS[name])
    for key, value in frozen.items():
        if key.startswith(EMBEDDINGS[name]):
            assert value is None
            assert trained[key].any()
        else:
            torch.testing.assert_close(value, trained[key], rtol=1e-4, atol=1e-7)


def test_tied_embeddings_get_the_updates_of_both_their_uses():
    model = make("llama-tied").double().eval()
    tied = model.model.embed_tokens.weight
    assert model.lm_head.weight is tied
    untied = make("llama-tied").double().eval()
    untied.lm_head.weight = nn.Parameter(tied.detach().clone())
    for each in (model, untied):
        with attach_quietly(altprop.LFP(strict=True), each):
            logits = each(**batch("llama")).logits
            F.cross_entropy(logits.flatten(0, 1), torch.arange(14)).backward()
    both = untied.model.embed_tokens.weight.grad + untied.lm_head.weight.grad
    torch.testing.assert_close(tied.grad, both, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", [*VISION, "gpt2", "llama"])
def test_remove_restores_the_model_bit_for_bit(name):
    model, inputs = make(name).eval(), batch(name)
    classes = [type(module) for module in model.modules()]
    before, output = {key: value.clone() for key, value in model.state_dict().items()}, logits_of(model(**inputs))
    attachment = attach_quietly(altprop.LFP(), model)
    assert torch.equal(logits_of(model(**inputs)), output)
    attachment.remove()
    assert [type(module) for module in model.modules()] == classes
    assert torch.equal(logits_of(model(**inputs)), output)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
