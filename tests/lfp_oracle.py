"""LFP as the paper states it: reward by reward, in float64, with loops. Slow and obvious; nothing of altprop is used.

A model is an ``nn.Sequential`` of layers and of :class:`Residual` blocks. ``lfp`` runs it forward, keeps what every
layer saw and gave, and walks back: R_i = Σ_j c_ij R_j / (z_j + ε·sign z_j), where c_ij is the contribution of input i
to z_j.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

LOOPED = (nn.Linear, nn.Conv2d)
MIXING = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.RMSNorm,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.LPPool1d, nn.LPPool2d, nn.Upsample,
)  # fmt: skip
MOVING = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Flatten, nn.Unflatten, nn.Identity, nn.ZeroPad2d, nn.PixelShuffle, nn.FractionalMaxPool2d,
)  # fmt: skip


class Residual(nn.Module):
    """z = a + body(a)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, a: Tensor) -> Tensor:
        return a + self.body(a)


def sign(z: Tensor) -> Tensor:
    return torch.where(z < 0, -1.0, 1.0).to(z)


def lfp(model: nn.Sequential, a: Tensor, reward_at_output, epsilon: float) -> tuple[dict[str, Tensor], Tensor]:
    """The updates Δw by parameter name, and the reward at the input."""
    updates = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    walk_back = _forward(model, "", a, epsilon, updates)
    output, back = walk_back
    return updates, back(reward_at_output(output))


def _forward(layer: nn.Module, prefix: str, a: Tensor, epsilon: float, updates: dict[str, Tensor]):
    if isinstance(layer, nn.Sequential):
        backs = []
        for name, child in layer.named_children():
            a, back = _forward(child, f"{prefix}{name}.", a, epsilon, updates)
            backs.append(back)

        def walk(reward):
            for back in reversed(backs):
                reward = back(reward)
            return reward

        return a, walk
    if isinstance(layer, Residual):
        branch, back = _forward(layer.body, f"{prefix}body.", a, epsilon, updates)
        z = a + branch

        def split(reward):
            normed = reward / (z + epsilon * sign(z))
            return a * normed + back(branch * normed)

        return z, split
    with torch.no_grad():
        z = layer(a.clone())  # it may work in place
    if isinstance(layer, MIXING):
        return z, lambda reward: _mixing(layer, prefix, a, z, reward, epsilon, updates)
    if isinstance(layer, MOVING):
        return z, lambda reward: _through(layer, a, reward)
    return z, lambda reward: reward  # an activation passes the reward unchanged


def _through(layer: nn.Module, a: Tensor, reward: Tensor) -> Tensor:
    a = a.clone().requires_grad_()
    return torch.autograd.grad(layer(a), a, reward)[0]


def _mixing(layer, prefix, a, z, reward, epsilon, updates) -> Tensor:
    normed = reward / (z + epsilon * sign(z))
    if isinstance(layer, nn.Linear) and a.dim() == 2:
        return _linear(layer, prefix, a, normed, updates)
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return _conv2d(layer, prefix, a, normed, updates)
    return _jacobian(layer, prefix, a, normed, updates)


def _linear(layer, prefix, a, normed, updates) -> Tensor:
    w = layer.weight.detach()
    reward_in = torch.zeros_like(a)
    for n, j, i in itertools.product(range(a.shape[0]), range(w.shape[0]), range(w.shape[1])):
        reward_in[n, i] += a[n, i] * w[j, i] * normed[n, j]
        updates[prefix + "weight"][j, i] += w[j, i].abs() * a[n, i] * normed[n, j]
    if layer.bias is not None:
        for n, j in itertools.product(range(a.shape[0]), range(w.shape[0])):
            updates[prefix + "bias"][j] += layer.bias.detach()[j].abs() * normed[n, j]
    return reward_in


def _conv2d(layer, prefix, a, normed, updates) -> Tensor:
    w, reward_in = layer.weight.detach(), torch.zeros_like(a)
    (sy, sx), (py, px), (dy, dx) = layer.stride, layer.padding, layer.dilation
    outputs, per_group, height, width = w.shape
    for n, o, y, x in itertools.product(*(range(size) for size in normed.shape)):
        first = o // (outputs // layer.groups) * per_group
        for c, ky, kx in itertools.product(range(per_group), range(height), range(width)):
            row, column = y * sy - py + ky * dy, x * sx - px + kx * dx
            if 0 <= row < a.shape[2] and 0 <= column < a.shape[3]:
                value = a[n, first + c, row, column]
                reward_in[n, first + c, row, column] += value * w[o, c, ky, kx] * normed[n, o, y, x]
                updates[prefix + "weight"][o, c, ky, kx] += w[o, c, ky, kx].abs() * value * normed[n, o, y, x]
        if layer.bias is not None:
            updates[prefix + "bias"][o] += layer.bias.detach()[o].abs() * normed[n, o, y, x]
    return reward_in


def _jacobian(layer, prefix, a, normed, updates) -> Tensor:
    """Any other mixing layer: the contribution of input i to z_j is a_i · ∂z_j/∂a_i, of weight k it is ∂z_j/∂w_k."""
    names = [name for name, _ in layer.named_parameters()]
    buffers = {name: value.clone() for name, value in layer.named_buffers()}

    def run(a, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)) | buffers, (a,))

    parameters = tuple(p.detach() for p in layer.parameters())
    jacobians = torch.autograd.functional.jacobian(run, (a, *parameters))
    outer = tuple(range(normed.dim()))
    for name, parameter, jacobian in zip(names, parameters, jacobians[1:], strict=True):
        updates[prefix + name] += parameter.abs() * torch.tensordot(normed, jacobian, (outer, outer))
    return a * torch.tensordot(normed, jacobians[0], (outer, outer))
