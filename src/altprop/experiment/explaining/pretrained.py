"""Networks of torchvision."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from torch import nn

from altprop.experiment.errors import InputError, unknown
from altprop.experiment.explaining.network import Network
from altprop.experiment.networks.weights import load_weights
from altprop.experiment.seeding import seeded

PREFIX = "torchvision:"
"""How the names of these networks begin."""


def torchvision_network(
    model: str, weights: Path | None = None, seed: int | None = None, size: int | None = None
) -> Network:
    """Load a network for images.

    Args:
        model: ``"torchvision:NAME"``, with random weights, or ``"torchvision:NAME:WEIGHTS"``, to be downloaded.
        weights: a file of weights in place of random ones.
        seed: of random weights. Unset: 0.
        size: the side of images in pixels. Unset: what suits the network.

    Raises:
        InputError: torchvision has no such network or weights, they cannot be downloaded, or they do not fit.
    """
    name, _, pretrained = model.removeprefix(PREFIX).partition(":")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("torchvision model", name, known)
    if pretrained and weights is not None:
        raise InputError(f"Give either weights of torchvision, as in {model}, or a file (--weights), not both.")
    entries = torchvision.models.get_model_weights(name)
    if pretrained and pretrained not in entries.__members__:
        raise unknown(f"set of weights for torchvision's {name} called", pretrained, entries.__members__)
    chosen = entries[pretrained] if pretrained else None
    with seeded(seed or 0):
        network = _built(name, chosen)
    notes = []
    if weights is not None:
        load_weights(network, weights, f"torchvision's {name}")
    elif chosen is None:
        notes = [
            f"The weights of {name} are random (seed {seed or 0}), so that the explanations say nothing about the "
            f"images. For trained weights: --model {PREFIX}{name}:DEFAULT, or a file (--weights)."
        ]
    entry = chosen or entries.DEFAULT
    sides = {} if size is None else {"crop_size": size, "resize_size": size}
    transforms = entry.transforms(**sides)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (transforms.mean, transforms.std))
    origin = f"weights {pretrained}" if pretrained else f"weights of {weights}" if weights else "random weights"
    return Network(
        module=network.eval(),
        name=name,
        summary=f"torchvision's {name}, {origin}",
        prepare=lambda image: transforms(image.convert("RGB")),
        low=(0 - mean) / std,
        high=(1 - mean) / std,
        classes=tuple(entry.meta["categories"]),
        notes=tuple(notes),
    )


def _built(name: str, weights: torchvision.models.WeightsEnum | None) -> nn.Module:
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:
        if weights is None:
            raise
        raise InputError(
            f"The weights {weights.name} of {name} could not be downloaded: {error}. Give a file instead (--weights)."
        ) from error
    return network
