"""The networks that the benchmarks measure, with a batch for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mlp() -> nn.Sequential:
    """784-256-256-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def lenet() -> nn.Sequential:
    """LeNet-5 with ReLU and max pools, for 28×28 images."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def vgg() -> nn.Sequential:
    """Six convolutions and two linear layers, for 32×32 colour images."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 10))


class Transformer(nn.Module):
    """A model of Hugging Face that gives its logits alone: for text one row for each token.

    Args:
        model: it.
        takes: the name of its input.
    """

    def __init__(self, model: nn.Module, takes: str) -> None:
        super().__init__()
        self.model, self.takes = model, takes

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (batch, classes), or (batch · positions, kinds of tokens)."""
        return self.model(**{self.takes: x}).logits.flatten(0, -2)


def vit(width: int, layers: int, heads: int, side: int, patch: int, classes: int) -> Transformer:
    """A vision transformer with the usual fourfold width within its blocks."""
    from transformers import ViTConfig, ViTForImageClassification  # noqa: PLC0415

    config = ViTConfig(
        image_size=side, patch_size=patch, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, num_labels=classes, attn_implementation="sdpa",
    )  # fmt: skip
    return Transformer(ViTForImageClassification(config), "pixel_values")


def gpt(width: int, layers: int, heads: int, length: int, kinds: int) -> Transformer:
    """A GPT-2, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    config = GPT2Config(
        vocab_size=kinds, n_positions=length, n_embd=width, n_layer=layers, n_head=heads, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None, use_cache=False,
        attn_implementation="sdpa",
    )  # fmt: skip
    return Transformer(GPT2LMHeadModel(config), "input_ids")


NETWORKS = {"mlp": (mlp, (128, 1, 28, 28)), "lenet": (lenet, (128, 1, 28, 28)), "vgg": (vgg, (64, 3, 32, 32))}
TRANSFORMERS = {
    "vit-tiny": (lambda: vit(192, 4, 3, 32, 4, 10), (32, 3, 32, 32)),
    "gpt-tiny": (lambda: gpt(128, 4, 4, 128, 96), (16, 128)),
    # For a GPU: ViT-B/16, and GPT-2 small with its longest context.
    "vit-b-16": (lambda: vit(768, 12, 12, 224, 16, 1000), (64, 3, 224, 224)),
    "gpt2-small": (lambda: gpt(768, 12, 12, 1024, 50257), (8, 1024)),
}


def make(name: str, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with the same weights at every call, and a random batch for it."""
    torch.manual_seed(0)
    build, shape = (NETWORKS | TRANSFORMERS)[name]
    model = build().to(device)
    if len(shape) > 2:
        return model, torch.randn(shape, device=device), torch.arange(shape[0], device=device) % 10
    tokens = torch.randint(96, shape, device=device)
    return model, tokens, tokens.roll(-1, 1).flatten()


def deep(depth: int, device: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network of ``depth`` layers of width 1024 and a read-out, and a random batch of 512 for it."""
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(1024, 1024), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(1024, 10))
    return model.to(device), torch.randn(512, 1024, device=device), torch.arange(512, device=device) % 10
