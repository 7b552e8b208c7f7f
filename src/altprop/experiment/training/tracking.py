"""Measurements of :mod:`altprop.measure`, taken after each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from altprop._preserve import preserved
from altprop._sharding import full_tensor
from altprop.experiment.records.study import HIDDEN_COSINE
from altprop.experiment.training.bounding import layer_weights
from altprop.measure import Comparison, compare_with_backprop, gini, weight_alignment
from altprop.rules._layers import is_layer, named_modules

if TYPE_CHECKING:
    from altprop.experiment.training.loop import Loop

Tracked = dict[str, float | None]


def track(loop: Loop) -> Tracked:
    """What the recipe asks to be tracked, on the first batches of the epoch that ended, averaged over them.

    The network and the random state stay as they are. ``bp_cosine`` is the cosine between the rule's updates and
    backprop's, and ``bp_cosine_hidden`` that over all but the output layer; ``norms`` the ratio of their lengths
    (``norm_ratio``) and the lengths of the weights (``weight_norm``), ``sparsity`` the fraction of zeros in the
    updates, ``weight_alignment`` the cosine between forward and feedback weights, ``gini`` the Gini index of the
    weights (``weight_gini``), and of what enters each layer but the first (``activation_gini``), the mean over samples.
    Each is given in all, and after a slash by layer.
    """
    asked = loop.job.recipe.track.metrics
    found: Tracked = {}
    if {"bp_cosine", "sparsity", "norms"} & set(asked):
        comparison = _compare(loop)
        kinds = {"bp_cosine": comparison.cosine, "sparsity": comparison.sparsity, "norms": comparison.norm_ratio}
        for name in asked:
            if name in kinds:
                found |= _named("norm_ratio" if name == "norms" else name, kinds[name])
        if "bp_cosine" in asked:
            found |= _of_hidden_layers(comparison, loop.output_layer)
    if "norms" in asked:
        found |= _weight_norms(loop)
    if "weight_alignment" in asked:
        found |= _named("weight_alignment", weight_alignment(loop.network).cosine)
    if "gini" in asked:
        found |= _weight_gini(loop) | _activation_gini(loop)
    return found


@contextmanager
def noting_layers(network: nn.Module) -> Iterator[list[str]]:
    """A list, to which each layer with weights that runs within this block adds its name when it has run."""
    order: list[str] = []
    layers = [(name, module) for name, module in network.named_modules() if [*module.parameters(recurse=False)]]
    handles = [module.register_forward_hook(lambda *_, name=name: order.append(name)) for name, module in layers]
    try:
        yield order
    finally:
        for handle in handles:
            handle.remove()


def _of_hidden_layers(comparison: Comparison, output_layer: str | None) -> Tracked:
    if output_layer is None or not comparison.cosine.layers.keys() - {output_layer}:
        return {}
    return {HIDDEN_COSINE: _defined(comparison.without(output_layer).cosine.total)}


def _compare(loop: Loop) -> Comparison:
    with loop.machine.autocast():
        batches = loop.first_batches(loop.job.recipe.track.batches)
        return compare_with_backprop(loop.network, loop.objective, batches)


def _weight_norms(loop: Loop) -> Tracked:
    squares: dict[str, float] = {}
    for name, parameter in loop.network.named_parameters():
        layer = name.rpartition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + float(full_tensor(parameter.detach()).double().square().sum())
    norms = {f"weight_norm/{layer}": math.sqrt(square) for layer, square in squares.items()}
    return {"weight_norm": math.sqrt(sum(squares.values())), **norms}


def _weight_gini(loop: Loop) -> Tracked:
    weights = {name: full_tensor(weight.detach()).flatten() for name, weight in layer_weights(loop.network)}
    found = {f"weight_gini/{name.rpartition('.')[0]}": float(gini(weight)) for name, weight in weights.items()}
    found["weight_gini"] = float(gini(torch.cat(list(weights.values()))))
    return {name: _defined(value) for name, value in found.items()}


def _activation_gini(loop: Loop) -> Tracked:
    seen: dict[str, list[Tensor]] = {}
    hidden = [(name, module) for name, module in named_modules(loop.network) if is_layer(module)][1:]

    def look(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.setdefault(name, []).append(gini(args[0].flatten(1)))

    handles = [module.register_forward_pre_hook(partial(look, name)) for name, module in hidden]
    try:
        with preserved(loop.network), torch.no_grad(), loop.machine.autocast():
            for x, _ in loop.first_batches(loop.job.recipe.track.batches):
                loop.network(x)
    finally:
        for handle in handles:
            handle.remove()
    # A sample at which all units of a layer are silent has no index there.
    means = {name: float(torch.cat(values).nanmean()) for name, values in seen.items()}
    defined = [value for value in means.values() if math.isfinite(value)]
    total = sum(defined) / len(defined) if defined else None
    return {"activation_gini": total} | {f"activation_gini/{name}": _defined(value) for name, value in means.items()}


def _named(name: str, scores: Any) -> Tracked:
    layers = {f"{name}/{layer}": _defined(value) for layer, value in scores.layers.items()}
    return {name: _defined(scores.total), **layers}


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
