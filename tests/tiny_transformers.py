"""Tiny transformers of every kind, with random weights, as their packages make them."""

import torch
from torch import nn
from torchvision.models import VisionTransformer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

VOCABULARY, WIDTH, HEADS, GROUPS, LAYERS = 20, 16, 4, 2, 2
TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0}
DECODER = {
    **TOKENS, "hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "max_position_embeddings": 32,
}  # fmt: skip
GROUPED = {**DECODER, "num_key_value_heads": GROUPS}
LLAMA_LIKE = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "mistral": (MistralConfig, MistralForCausalLM, {}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 4}),
    "gemma": (GemmaConfig, GemmaForCausalLM, {"head_dim": 4}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"head_dim": 4}),
    "phi": (PhiConfig, PhiForCausalLM, {}),
    "phi3": (Phi3Config, Phi3ForCausalLM, {}),
}
VISION = ("torchvision-vit", "vit")
LANGUAGE = ("gpt2", *LLAMA_LIKE)


def vit(attention: str) -> nn.Module:
    config = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=24, image_size=8,
        patch_size=4, num_channels=1, num_labels=10, hidden_dropout_prob=0.0, attn_implementation=attention,
    )  # fmt: skip
    return ViTForImageClassification(config)


def gpt2(attention: str = "sdpa") -> nn.Module:
    config = GPT2Config(
        **TOKENS, n_positions=32, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, attn_implementation=attention,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def make(name: str, attention: str = "sdpa", seed: int = 0) -> nn.Module:
    """A model by name, with weights that are all far from zero."""
    torch.manual_seed(seed)
    if name == "torchvision-vit":
        model = VisionTransformer(8, 4, LAYERS, HEADS, WIDTH, 24, num_classes=10)
    elif name == "vit":
        model = vit(attention)
    elif name == "gpt2":
        model = gpt2(attention)
    else:
        config, build, extra = LLAMA_LIKE[name]
        attention = "eager" if name == "gemma2" else attention  # it caps its scores, which no fused kernel does
        model = build(config(**GROUPED, **extra, attn_implementation=attention))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3).add_(0.05 * parameter.sign())
    return model


def batch(name: str, size: int = 2) -> dict[str, torch.Tensor]:
    """Keyword arguments for a model, without targets."""
    torch.manual_seed(1)
    if name == "torchvision-vit":
        return {"x": torch.randn(size, 3, 8, 8)}
    if name == "vit":
        return {"pixel_values": torch.randn(size, 1, 8, 8)}
    return {"input_ids": torch.randint(VOCABULARY, (size, 7))}


def logits_of(output) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output.logits
