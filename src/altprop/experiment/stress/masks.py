"""Networks without the weights, or the channels, that a ranking puts last; on :mod:`torch.nn.utils.prune`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from altprop.explain.composites import LAYERS

Scores = Mapping[str, Tensor]
"""By the name of a layer how much each of its weights matters, in the weight's shape; or each of its channels."""

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers and convolutions by name; those that share a weight count once.

    Example:
        >>> list(layers_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))))
        ['0', '2']
    """
    layers: dict[str, nn.Module] = {}
    seen = set()
    for name, module in model.named_modules():
        if isinstance(module, LAYERS) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            layers[name] = module
    return layers


def channel_dim(layer: nn.Module) -> int:
    """Which dimension of a layer's weight its channels (or neurons) are."""
    return 1 if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) else 0


def sparsity(model: nn.Module) -> float:
    """The fraction of the weights of linear layers and convolutions that are zero."""
    weights = [layer.get_parameter("weight") for layer in layers_of(model).values()]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)


def prune_by(model: nn.Module, scores: Scores, amount: float, *, per_layer: bool = False) -> nn.Module:
    """A copy of a network without what matters least.

    A pruned weight is zero. A pruned channel (or neuron) gives zero: its weights and its bias are zero, and so are the
    scale and shift of the batch norm that comes next in the order of the modules.

    Args:
        model: any network; it stays as it is, bit for bit.
        scores: of the layers to prune: of the weight's shape for each weight, or of shape (channels,).
        amount: which fraction to prune, from 0 to 1.
        per_layer: whether to prune that fraction of each layer, rather than of all of them together.

    Example:
        >>> layer = nn.Linear(4, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -4.0, 2.0, 3.0]]))
        >>> prune_by(nn.Sequential(layer), {"0": layer.weight.abs()}, 0.5)[0].weight.tolist()
        [[0.0, -4.0, 0.0, 3.0]]
    """
    scratch = deepcopy(model)
    groups = [{name: one} for name, one in scores.items()] if per_layer else [dict(scores)]
    for group in groups:
        weights = {name: one for name, one in group.items() if one.dim() > 1}
        _prune_weights(scratch, weights, amount)
        _prune_channels(scratch, {name: one for name, one in group.items() if name not in weights}, amount)
    # Torch changes the order of the parameters when it prunes them; a second copy has it as it was.
    pruned = deepcopy(model)
    pruned.load_state_dict(scratch.state_dict())
    return pruned


def _prune_weights(model: nn.Module, scores: Scores, amount: float) -> None:
    if not scores:
        return
    layers = {(model.get_submodule(name), "weight"): one for name, one in scores.items()}
    count = round(amount * sum(one.numel() for one in scores.values()))
    prune.global_unstructured(list(layers), prune.L1Unstructured, importance_scores=layers, amount=count)
    for layer, name in layers:
        prune.remove(layer, name)  # type: ignore[no-untyped-call]


def _prune_channels(model: nn.Module, scores: Scores, amount: float) -> None:
    if not scores:
        return
    # The same order as for weights: by magnitude of the score, and of equal ones the same that torch takes.
    together = torch.cat([one.flatten() for one in scores.values()])
    keep = torch.ones_like(together, dtype=torch.bool)
    keep[together.abs().topk(round(amount * len(together)), largest=False).indices] = False
    norms = _norms_behind(model)
    parts = torch.split(keep, [len(one) for one in scores.values()])
    for name, kept in zip(scores, parts, strict=True):
        layer = model.get_submodule(name)
        for module in (layer, norms.get(name)):
            _zero_channels(module, kept)


def _zero_channels(module: nn.Module | None, kept: Tensor) -> None:
    for name in ("weight", "bias"):
        parameter = getattr(module, name, None)
        if module is not None and parameter is not None:
            dim = channel_dim(module) if name == "weight" else 0
            shape = [-1 if number == dim else 1 for number in range(parameter.dim())]
            mask = kept.reshape(shape).expand_as(parameter).to(parameter)
            prune.custom_from_mask(module, name, mask)  # type: ignore[no-untyped-call]
            prune.remove(module, name)  # type: ignore[no-untyped-call]


def _norms_behind(model: nn.Module) -> dict[str, nn.Module]:
    """By the name of a layer the batch norm that comes next, if it is of its channels."""
    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    return {
        name: norm
        for (name, layer), (_, norm) in pairwise(leaves)
        if isinstance(layer, LAYERS)
        and isinstance(norm, _NORMS)
        and norm.num_features == layer.get_parameter("weight").shape[channel_dim(layer)]
    }
