"""Arrays of JAX from tensors of torch, and layers and networks that hold the same weights in both."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import torch
from torch import nn


def array(tensor):
    """The same numbers, for JAX."""
    return jnp.asarray(tensor.detach().numpy())


def channels_last(tensor):
    """(batch, channels, ...) as (batch, ..., channels)."""
    return array(tensor.movedim(1, -1).contiguous())


def kernel(weight):
    """A weight of torch, (out, in, ...), as a kernel of Flax, (..., in, out)."""
    return array(weight.permute(*range(2, weight.dim()), 1, 0).contiguous())


def close(ours, theirs, tolerance=1e-5):
    """Whether two arrays agree relative to the largest entry."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() <= tolerance * max(np.abs(theirs).max(), 1e-30)


def tanh_network(sizes=(6, 8, 7, 3), activation=nn.Tanh, seed=0):
    """Fully connected layers in torch with an activation between each two."""
    torch.manual_seed(seed)
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def parameters(network):
    """The weights of such a network, for :func:`dense_network`."""
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    return {
        f"layer{number}": {"kernel": kernel(layer.weight), "bias": array(layer.bias)}
        for number, layer in enumerate(linears)
    }


def batch(sizes=(6, 3), samples=5, seed=1):
    """Inputs and classes, as tensors."""
    torch.manual_seed(seed)
    return torch.randn(samples, sizes[0]), torch.arange(samples) % sizes[-1]


def gradients(network):
    """The gradients that torch found, laid out as :func:`parameters`."""
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    zero = torch.zeros_like
    return {
        f"layer{number}": {
            "kernel": kernel(layer.weight.grad if layer.weight.grad is not None else zero(layer.weight)),
            "bias": array(layer.bias.grad if layer.bias.grad is not None else zero(layer.bias)),
        }
        for number, layer in enumerate(linears)
    }
