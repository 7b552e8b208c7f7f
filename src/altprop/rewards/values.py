"""Rewards for the values of outputs: raise one, lower one, reach a target."""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.rewards._checks import check_neuron, class_dim, expect_shape_of, name_of
from altprop.rewards.reward import ProportionalReward, Reduction, Reward


class MaximizeNeuron(Reward):
    """R = sign(o)·(1 − σ(o)): raise the output, the less the higher it is.

    The target is ignored, and may be left out.

    Args:
        neuron: which entry of dimension 1 (of dimension 0, for an output of one dimension); by default all.
        reduction: as in :class:`Reward`.
        epsilon: as in :class:`Reward`.

    Raises:
        TypeError: ``neuron`` is neither an integer nor None.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[0.5, -0.5]], requires_grad=True)
        >>> altprop.rewards.MaximizeNeuron(1)(output).backward()
        >>> output.grad
        tensor([[-0.0000, -1.2449]])
    """

    sample = "position"

    def __init__(self, neuron: int | None = None, *, reduction: Reduction = "mean", epsilon: float = 1e-6) -> None:
        super().__init__(reduction=reduction, epsilon=epsilon)
        if neuron is not None and not isinstance(neuron, int):
            raise TypeError(
                f"{name_of(self)}'s neuron must be the index of an output, or None for all; got {neuron!r}."
            )
        self.neuron = neuron

    def forward(self, output: Tensor, target: object = None) -> Tensor:
        """Judge ``output``, whatever the ``target``; see :meth:`Reward.forward`."""
        return super().forward(output, target)

    def reward(self, output: Tensor, target: object = None) -> Tensor:
        """sign(o)·(1 − σ(o)), at the neuron alone if one was named."""
        if self.neuron is None:
            return _towards_more(output)
        check_neuron(output, self.neuron, self)
        reward, dim = torch.zeros_like(output), class_dim(output)
        reward.select(dim, self.neuron).copy_(_towards_more(output.select(dim, self.neuron)))
        return reward

    def extra_repr(self) -> str:
        """The settings, for ``print(reward)``."""
        return f"{self.neuron}, {super().extra_repr()}"


class MinimizeNeuron(MaximizeNeuron):
    """R = −sign(o)·(1 − σ(o)), the negative of :class:`MaximizeNeuron`: lower the output, the more the lower it is.

    It does not let go: an output that goes down is pushed on.

    Args:
        neuron: which entry of dimension 1 (of dimension 0, for an output of one dimension); by default all.
        reduction: as in :class:`Reward`.
        epsilon: as in :class:`Reward`.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[0.5, -0.5]], requires_grad=True)
        >>> altprop.rewards.MinimizeNeuron()(output).backward()
        >>> output.grad
        tensor([[0.7551, 1.2449]])
    """

    def reward(self, output: Tensor, target: object = None) -> Tensor:
        """−sign(o)·(1 − σ(o)), at the neuron alone if one was named."""
        return -super().reward(output, target)


class Regression(ProportionalReward):
    """R = o·(t − o): the gradient is that of ½(t − o)², summed over the outputs of a row and averaged over rows.

    The value is that loss, ½(t − o)², not minus the mean reward: o·(t − o) is largest at o = t/2, and would mislead.

    The target: t for each output, of the output's shape.

    Args:
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[1.0], [2.0]], requires_grad=True)
        >>> value = altprop.rewards.Regression()(output, torch.tensor([[3.0], [2.0]]))
        >>> value.item()
        1.0
        >>> value.backward()
        >>> output.grad
        tensor([[-1.],
                [-0.]])
    """

    def credit(self, output: Tensor, target: Tensor) -> Tensor:
        """The error t − o."""
        return expect_shape_of(output, target, self).to(output) - output

    def _assess(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        error = self.credit(output, target)
        return -0.5 * error.square(), error


def _towards_more(output: Tensor) -> Tensor:
    return output.sign() * (1 - output.sigmoid())
