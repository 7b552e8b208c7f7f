"""Checks of the arguments of rewards, and class targets in the shape that rewards compute with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def class_dim(output: Tensor) -> int:
    return 1 if output.dim() > 1 else 0


def class_indices(output: Tensor, target: Any, reward: nn.Module) -> Tensor:
    """The true classes as int64, shaped to index the output along its classes."""
    dim = class_dim(output)
    if output.dim() == 0:
        raise ValueError(
            f"{name_of(reward)} needs an output per class, of shape (N, C, ...) or (C,); got a single number."
        )
    expected = (*output.shape[:dim], *output.shape[dim + 1 :])
    if not isinstance(target, Tensor) or target.is_floating_point() or target.is_complex():
        raise TypeError(
            f"{name_of(reward)} needs class indices, an integer tensor of shape {expected}; got {describe(target)}. "
            f"From one-hot or probabilities, pass target.argmax({dim})."
        )
    if target.shape != expected:
        raise ValueError(
            f"{name_of(reward)} needs class indices of shape {expected} for an output of shape {tuple(output.shape)}, "
            f"got {describe(target)}. From one-hot, pass target.argmax({dim})."
        )
    hint = "Number the classes from 0; leave out samples without a class: reward(output[keep], target[keep])."
    check_range(target, 0, output.shape[dim] - 1, reward, hint)
    return target.long().unsqueeze(dim)


def probabilities(output: Tensor, target: Any, reward: nn.Module) -> Tensor:
    """The target as probabilities of the output's shape: one-hot if it is class indices."""
    if isinstance(target, Tensor) and target.is_floating_point():
        hint = "These are probabilities, one per output; class indices must be integers: target.long()."
        return expect_shape_of(output, target, reward, hint).to(output)
    return torch.zeros_like(output).scatter_(class_dim(output), class_indices(output, target, reward), 1)


def check_range(target: Tensor, low: int, high: int, reward: nn.Module, hint: str) -> None:
    # Only on the CPU: elsewhere, reading the values would wait for the device.
    if target.device.type != "cpu" or torch.compiler.is_compiling() or not target.numel():
        return
    smallest, largest = target.min().item(), target.max().item()
    if smallest < low or largest > high:
        raise ValueError(f"{name_of(reward)} needs targets from {low} to {high}, got {smallest} to {largest}. {hint}")


def check_neuron(output: Tensor, neuron: int, reward: nn.Module) -> None:
    count = output.shape[class_dim(output)] if output.dim() else 0
    if not -count <= neuron < count:
        raise ValueError(
            f"{name_of(reward)}({neuron}) is out of range: the output of shape {tuple(output.shape)} has {count} "
            f"neurons in dimension {class_dim(output)}. Choose one from 0 to {count - 1}, or None for all."
        )


def check_output(output: object, reward: nn.Module) -> None:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise TypeError(
            f"{name_of(reward)} judges the output of a network, a floating-point tensor; got {describe(output)}. If "
            f"the model returns several things, pass the one to judge, such as output.logits."
        )


def expect_shape_of(output: Tensor, target: Any, reward: nn.Module, hint: str = "") -> Tensor:
    if not isinstance(target, Tensor):
        raise TypeError(
            f"{name_of(reward)} needs a tensor of the output's shape {tuple(output.shape)} for a target, got "
            f"{describe(target)}. Pass torch.as_tensor(target)."
        )
    if target.shape != output.shape:
        hint = hint or "Reshape one of them; shapes are not broadcast, for that hides mistakes."
        raise ValueError(
            f"{name_of(reward)} needs a target of the output's shape {tuple(output.shape)}, got {describe(target)}. "
            f"{hint}"
        )
    return target


def describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return "None" if value is None else f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def name_of(reward: nn.Module) -> str:
    return type(reward).__name__
