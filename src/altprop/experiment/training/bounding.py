"""Bounds on what moves the weights of each layer, and on the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from altprop._sharding import full_tensor
from altprop.rules._layers import is_layer, named_modules


@contextmanager
def errors_clipped(network: nn.Module, limit: float, scale: Callable[[], float]) -> Iterator[None]:
    """Within the block, clamp the entries of the error at what enters each layer, which teaches the layers before it.

    Enter it before a rule is attached, since direct rules cut the network at the same places. Together with
    :func:`clip_updates` this is biotorch's ``gradient_clip``, where the limit is 1.

    Args:
        network: the network itself.
        limit: entries are clamped to ±limit; 0: they are not.
        scale: tells by how much errors are larger than those of the loss.
    """

    def clamp(error: Tensor) -> Tensor:
        bound = limit * scale()
        return error.clamp(-bound, bound)

    def watch(module: nn.Module, args: Any, kwargs: Any) -> None:
        for h in tree_leaves((args, kwargs)):
            if isinstance(h, Tensor) and h.requires_grad:
                h.register_hook(clamp)  # type: ignore[no-untyped-call]

    layers = [module for _, module in named_modules(network) if is_layer(module)] if limit else []
    handles = [layer.register_forward_pre_hook(watch, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def clip_updates(network: nn.Module, limit: float) -> None:
    """Clamp the entries of the updates in ``.grad`` of each layer to ±limit."""
    for _, module in named_modules(network):
        if is_layer(module):
            for parameter in module.parameters(recurse=False):
                if parameter.grad is not None:
                    parameter.grad.clamp_(-limit, limit)


def layer_weights(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The weight matrices of all layers, with the names of the parameters; without what a rule added."""
    layers = {name for name, module in named_modules(network) if is_layer(module)}
    for name, parameter in network.named_parameters():
        layer, _, own = name.rpartition(".")
        if layer in layers and parameter.dim() >= 2 and not own.endswith("feedback_weight"):
            yield name, parameter


def weight_norms(network: nn.Module) -> dict[str, float]:
    """The norms of the weights of all layers, by the names of the parameters; without those that are zero."""
    norms = {name: float(torch.linalg.vector_norm(weight.detach())) for name, weight in layer_weights(network)}
    return {name: norm for name, norm in norms.items() if norm}


@torch.no_grad()
def constrain_weights(network: nn.Module, norms: dict[str, float]) -> None:
    """Scale weights to the norms that they had.

    Args:
        network: the network.
        norms: of :func:`weight_norms`, before training.

    Reference:
        biotorch's ``constrain_weights``, after Moskovitz et al., "Feedback alignment in deep convolutional networks",
        2018.
    """
    for name, parameter in network.named_parameters():
        if name in norms:
            norm = full_tensor(torch.linalg.vector_norm(parameter))
            parameter.mul_(norms[name] / norm.clamp_min(torch.finfo(norm.dtype).tiny))
