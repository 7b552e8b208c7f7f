"""Rewards for spiking networks, given the last layer's spikes over time, (steps, batch, classes)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from altprop.rewards._checks import check_range, describe, name_of
from altprop.rewards.reward import Reward


class SpikeReward(Reward):
    """What rewards of spikes share. A spike is the unit of such an output, so that the gradient is −R, nothing divided.

    A neuron that should have fired can so be rewarded where it was silent. With ``reduction="mean"`` the value is minus
    the reward of a sample, summed over classes and time and averaged over the batch.
    """

    sample = "time"

    @abstractmethod
    def reward(self, output: Tensor, target: Any) -> Tensor:
        """The reward R at each spike, of shape (steps, batch, classes)."""

    @abstractmethod
    def scores(self, spikes: Tensor) -> Tensor:
        """The score of each class under this code, highest for the predicted one: (batch, classes)."""

    def _assess(self, output: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        reward = self.reward(output, target).to(output)
        return reward, reward


class SpikeRate(SpikeReward):
    """The class is the neuron that fires most often: the true one is rewarded at each step, others punished for spikes.

    With s the spikes over T steps and σ the logistic function,

        R = 1 − σ(Σ_t s − T/2)              on the true class, at each step
        R = −s·(1 − σ(Σ_t |s − 1| − T/2))   on the others

    so that a true neuron that fires at more than half of the steps, or another that fires at fewer, is left alone.

    The target: class indices of shape (batch,).

    Args:
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]], requires_grad=True)  # 2 steps, 1 sample, 2 classes
        >>> altprop.rewards.SpikeRate()(spikes, torch.tensor([1])).backward()
        >>> spikes.grad
        tensor([[[ 0.7311, -0.5000]],
        <BLANKLINE>
                [[ 0.7311, -0.5000]]])

    Reference:
        Weber et al., "Efficient and Flexible Neural Network Training through Layer-wise Feedback Propagation",
        TMLR 2025, on spiking networks. Its published code rounds T/2 down.
    """

    def reward(self, output: Tensor, target: Tensor) -> Tensor:
        """R as above."""
        true, half = _true_class(output, target, self), len(output) / 2
        on_true = torch.sigmoid(half - output.sum(0))
        on_others = -output * torch.sigmoid(half - (output - 1).abs().sum(0))
        return torch.where(true, on_true, on_others)

    def scores(self, spikes: Tensor) -> Tensor:
        """How often each neuron fired."""
        return spikes.sum(0)


class FirstSpike(SpikeReward):
    """The class is the neuron that fires first: the true one is rewarded up to its first spike, others punished at it.

    With t the step of a neuron's first spike (T if it is silent), t* that of the earliest neuron but the true one, and
    σ the logistic function,

        R = σ(t_true − t* + margin)         on the true class, at the steps up to t_true
        R = −σ(t_true − t + margin)         on each other class, at its first spike

    so that all is left alone once the true neuron is first by more than the margin.

    The target: class indices of shape (batch,).

    Args:
        margin: by how many steps the true neuron is to be first. Without one a network learns to tie.
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> spikes = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]], requires_grad=True)  # 2 steps, 1 sample, 2 classes
        >>> altprop.rewards.FirstSpike()(spikes, torch.tensor([1])).backward()
        >>> spikes.grad
        tensor([[[ 0.9820, -0.9820]],
        <BLANKLINE>
                [[ 0.0000, -0.9820]]])
    """

    def __init__(self, margin: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = margin

    def reward(self, output: Tensor, target: Tensor) -> Tensor:
        """R as above."""
        true, when = _true_class(output, target, self), _first_spikes(output)
        steps = torch.arange(len(output), device=output.device).view(-1, 1, 1)
        t_true = when.masked_fill(~true, 0).sum(-1, keepdim=True)
        earliest = when.masked_fill(true, len(output)).amin(-1, keepdim=True)
        on_true = torch.sigmoid(t_true - earliest + self.margin) * (steps <= t_true)
        on_others = -torch.sigmoid(t_true - when + self.margin) * (steps == when)
        return torch.where(true, on_true, on_others)

    def scores(self, spikes: Tensor) -> Tensor:
        """How many steps before the end each neuron fired first; where two tie, the one with more spikes leads."""
        steps = len(spikes)
        return steps - _first_spikes(spikes) + (spikes != 0).sum(0) / (steps + 1)

    def extra_repr(self) -> str:
        """The settings, for ``print(reward)``."""
        return f"margin={self.margin:g}, {super().extra_repr()}"


def _first_spikes(spikes: Tensor) -> Tensor:
    """The step at which each neuron fires first, T if it does not: (batch, classes), of the dtype of ``spikes``."""
    fired = spikes != 0
    return torch.where(fired.any(0), fired.to(spikes.dtype).argmax(0), len(spikes)).to(spikes.dtype)


def _true_class(spikes: Tensor, target: Any, reward: SpikeReward) -> Tensor:
    """Where the true class is: (1, batch, classes)."""
    if spikes.dim() != 3:
        raise ValueError(
            f"{name_of(reward)} judges spikes of shape (steps, batch, classes), as altprop.nn.SpikingSequential gives "
            f"them; got {describe(spikes)}."
        )
    if not isinstance(target, Tensor) or target.is_floating_point() or target.shape != spikes.shape[1:2]:
        raise ValueError(
            f"{name_of(reward)} needs class indices of shape ({spikes.shape[1]},), one for each sample of spikes of "
            f"shape {tuple(spikes.shape)}; got {describe(target)}."
        )
    check_range(target, 0, spikes.shape[2] - 1, reward, "Number the classes from 0.")
    return (target.unsqueeze(-1) == torch.arange(spikes.shape[2], device=spikes.device)).unsqueeze(0)
