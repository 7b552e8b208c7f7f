"""The networks of torchvision and timm, with the last layer replaced by one for the data."""

# ruff: noqa: PLC0415  (torchvision and timm take a second each to import, and only their own networks need them)

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from altprop._extras import how_to_install
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.networks.shapes import Norm, Shape

TORCHVISION, TIMM = "torchvision:", "timm:"
"""How the names of these networks begin."""

HUBS: dict[str, tuple[str, str]] = {
    f"{TORCHVISION}NAME": ("images", "A network of torchvision, such as torchvision:resnet18, with a new last layer."),
    f"{TIMM}NAME": ("images", "A network of timm, such as timm:resnet10t, with a new last layer."),
}
"""For the reader: what the names look like, what the networks take, and what they are."""

_AUXILIARY = {"googlenet", "inception_v3"}


def is_of_hub(name: str) -> bool:
    """Whether a name is of a network of torchvision or timm."""
    return name.startswith((TORCHVISION, TIMM))


def check_hub_name(name: str) -> None:
    """Check that torchvision or timm has such a network.

    Raises:
        InputError: it has not, or timm is not installed.
    """
    if name.startswith(TORCHVISION):
        import torchvision

        known = torchvision.models.list_models(module=torchvision.models)
    else:
        _check_timm(name)
        import timm

        known = timm.list_models()
    hub, _, network = name.partition(":")
    # timm's networks may be followed by the tag of their weights: resnet18.a1_in1k.
    if network not in known and not (hub == "timm" and network.partition(".")[0] in known):
        raise unknown(f"{hub} model", network, known)


def build_of_hub(
    name: str, shape: Shape, *, activation: str, norm: Norm, dropout: float, pretrained: bool
) -> nn.Module:
    """Build a network of torchvision or timm with weights drawn from torch's generator, or published ones.

    The last layer is new in any case. If the images are not in colour, the first convolution is too: pretrained, it
    takes a grey image as the published one takes the same image in red, green and blue.

    Residual networks of timm start with scales of zero at the end of each block. LFP never moves a weight that is zero:
    it warns of them when it is attached; `lfp:minimum_scale=0.01` moves them, and so do published weights.

    Args:
        name: ``"torchvision:NAME"`` or ``"timm:NAME"``.
        shape: what the network must fit.
        activation: ``"relu"``, the default, which stands for the network's own.
        norm: ``"none"``, the default, likewise.
        dropout: 0, the default, likewise.
        pretrained: whether to take the published weights; they are downloaded if they are not there.

    Raises:
        InputError: there is no such network, it cannot take such inputs, another activation, normalisation or dropout
            than its own is asked for, or its weights cannot be had.
    """
    check_hub_name(name)
    for key, value, default in (("activation", activation, "relu"), ("norm", norm, "none"), ("dropout", dropout, 0)):
        if value != default:
            raise InputError(f"The model {name!r} is taken as it was published: leave {key} at {default}, its own.")
    if len(shape.input) != 3:
        size = "×".join(map(str, shape.input))
        raise InputError(f"The model {name!r} takes images, but inputs have the shape {size}. Take other data.")
    build = _of_torchvision if name.startswith(TORCHVISION) else _of_timm
    network = build(name.partition(":")[2], shape, pretrained)
    _check_inputs(network, name, shape)
    return network


def _of_torchvision(name: str, shape: Shape, pretrained: bool) -> nn.Module:
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT if pretrained else None
    # These two would give several outputs at once while training.
    options = {"aux_logits": False, "init_weights": not pretrained} if name in _AUXILIARY else {}
    network: nn.Module = _fetched(
        f"torchvision:{name}",
        lambda: torchvision.models.get_model(name, weights=weights, **options),
        lambda: _place_of_torchvision(weights.url) if weights else "",
    )
    _replace_last_layer(network, shape.outputs)
    _replace_first_layer(network, name, shape.input[0], pretrained)
    return network


def _of_timm(name: str, shape: Shape, pretrained: bool) -> nn.Module:
    import timm

    network: nn.Module = _fetched(
        f"timm:{name}",
        lambda: timm.create_model(name, pretrained=pretrained, num_classes=shape.outputs, in_chans=shape.input[0]),
        lambda: _place_of_timm(name) if pretrained else "",
    )
    return network


def _fetched(name: str, build: Callable[[], Any], place: Callable[[], str]) -> Any:
    try:
        return build()
    # Each hub has errors of its own; what they have in common is that a file or a host was not there.
    except (OSError, RuntimeError) as error:
        where = place()
        if not where:
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"The weights of {name} could not be downloaded ({reason}). {where}") from error


def _place_of_torchvision(url: str) -> str:
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    return f"Without a network, download {url} elsewhere and put it at {file}; or leave pretrained off."


def _place_of_timm(name: str) -> str:
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    known = timm.get_pretrained_cfg(name)
    repository = known.hf_hub_id if known else None
    if not repository:
        return "timm has no weights of this network that can be downloaded: leave pretrained off."
    folder = Path(HF_HUB_CACHE) / f"models--{repository.strip('/').replace('/', '--')}"
    return (
        f"Without a network, run `hf download {repository}` elsewhere and copy what it made to {folder}; or leave "
        f"pretrained off."
    )


def _replace_last_layer(network: nn.Module, outputs: int) -> None:
    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if isinstance(last, nn.Linear):
        network.set_submodule(name, nn.Linear(last.in_features, outputs))
    else:
        network.set_submodule(name, nn.Conv2d(last.in_channels, outputs, 1))  # SqueezeNet's


def _replace_first_layer(network: nn.Module, model: str, channels: int, pretrained: bool) -> None:
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if channels == first.in_channels:
        return
    if pretrained and channels != 1:
        raise InputError(
            f"The weights of torchvision:{model} are for images in colour or in grey, but inputs have {channels} "
            f"channels: leave pretrained off, or take other data."
        )
    layer = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]  # torch types what a layer holds as tuples of any length
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    if pretrained:
        layer.load_state_dict(first.state_dict() | {"weight": first.weight.sum(1, keepdim=True)})
    network.set_submodule(name, layer)


def _check_inputs(network: nn.Module, name: str, shape: Shape) -> None:
    """Send an image of zeros through, so that what does not fit is named now."""
    try:
        with torch.no_grad():
            outputs = network.eval()(torch.zeros(1, *shape.input))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"The model {name!r} cannot take images of {'×'.join(map(str, shape.input))}: {reason}. Give it larger "
            f"ones (data.size in a recipe), or take another model."
        ) from error
    finally:
        network.train()
    if outputs.shape != (1, shape.outputs):
        raise InputError(f"The model {name!r} gives outputs of shape {tuple(outputs.shape[1:])}: it is no classifier.")


def _check_timm(name: str) -> None:
    if find_spec("timm") is None:
        raise InputError(
            f"The model {name!r} needs timm, which is not installed. Install it with: {how_to_install('timm')}"
        )
