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


NETWORKS = {"mlp": (mlp, (128, 1, 28, 28)), "lenet": (lenet, (128, 1, 28, 28)), "vgg": (vgg, (64, 3, 32, 32))}


def make(name: str, device: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network with the same weights at every call, and a random batch for it."""
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    return build().to(device), torch.randn(shape, device=device), torch.arange(shape[0], device=device) % 10


def deep(depth: int, device: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network of ``depth`` layers of width 1024 and a read-out, and a random batch of 512 for it."""
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(1024, 1024), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(1024, 10))
    return model.to(device), torch.randn(512, 1024, device=device), torch.arange(512, device=device) % 10
