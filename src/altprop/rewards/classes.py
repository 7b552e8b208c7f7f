"""Rewards for classifiers."""

from __future__ import annotations

import torch
from torch import Tensor

from altprop.rewards._checks import check_range, class_dim, class_indices, expect_shape_of, probabilities
from altprop.rewards.reward import ProportionalReward, Reduction, Reward


class Softmax(ProportionalReward):
    """R = o·(y − softmax(o)), y the one-hot class: the gradient is that of ``F.cross_entropy``.

    Its value, minus the mean reward, nears 0 both for an undecided network and for a certain one: to read progress,
    print a cross-entropy or the accuracy instead.

    The target: class indices of shape (N, d1, ...) for an output (N, C, d1, ...), or probabilities of the output's
    shape, floating point.

    Args:
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.zeros(1, 4, requires_grad=True)
        >>> altprop.rewards.Softmax()(output, torch.tensor([2])).backward()
        >>> output.grad
        tensor([[ 0.2500,  0.2500, -0.7500,  0.2500]])
    """

    sample = "position"

    def credit(self, output: Tensor, target: Tensor) -> Tensor:
        """The error y − softmax(o)."""
        return probabilities(output, target, self) - output.softmax(class_dim(output))


class Sigmoid(ProportionalReward):
    """R = o·(y − σ(o)), y the one-hot class: each class is a yes-or-no question of its own.

    The gradient is that of ``F.binary_cross_entropy_with_logits`` against one-hot targets, summed over classes.

    The target: class indices of shape (N, d1, ...) for an output (N, C, d1, ...), or probabilities of the output's
    shape, floating point (several classes may be true).

    Args:
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.zeros(1, 3, requires_grad=True)
        >>> altprop.rewards.Sigmoid()(output, torch.tensor([2])).backward()
        >>> output.grad
        tensor([[ 0.5000,  0.5000, -0.5000]])
    """

    sample = "position"

    def credit(self, output: Tensor, target: Tensor) -> Tensor:
        """The error y − σ(o)."""
        return probabilities(output, target, self) - output.sigmoid()


class BinarySigmoid(ProportionalReward):
    """R = o·(y − σ(o)), y in [0, 1]: the gradient is that of ``F.binary_cross_entropy_with_logits``.

    It is summed over the outputs of a row and averaged over rows; for one output per row that is the plain mean.

    The target: 0 or 1 (or a probability) for each output, of any dtype and of the output's shape. Shape (N,) does for
    an output (N, 1).

    Args:
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.zeros(2, 1, requires_grad=True)
        >>> altprop.rewards.BinarySigmoid(reduction="sum")(output, torch.tensor([0, 1])).backward()
        >>> output.grad
        tensor([[ 0.5000],
                [-0.5000]])
    """

    def credit(self, output: Tensor, target: Tensor) -> Tensor:
        """The error y − σ(o)."""
        if isinstance(target, Tensor) and output.shape == (*target.shape, 1):
            target = target.unsqueeze(-1)
        target = expect_shape_of(output, target, self)
        check_range(target, 0, 1, self, "For labels −1 and 1, pass (target + 1) / 2; for classes, use Softmax.")
        return target.to(output) - output.sigmoid()


class BoundedSoftmax(Reward):
    """R = o·(y − p), p = softmax(o) but 1 above ``upper`` and 0 below ``lower``: what is settled is left alone.

    A true class more certain than ``upper`` gets no more reward, a false class less likely than ``lower`` no more
    punishment; a false class more certain than ``upper`` is punished in full.

    The target: class indices of shape (N, d1, ...) for an output (N, C, d1, ...), or probabilities of the output's
    shape, floating point.

    Args:
        lower: probabilities below it count as 0.
        upper: probabilities above it count as 1.
        sign_only: take R = sign(o)·(y − p), so that large outputs count no more than small ones.
        reduction: as in :class:`Reward`.
        epsilon: as in :class:`Reward`; used with ``sign_only``.

    Raises:
        ValueError: not 0 ≤ lower ≤ upper ≤ 1.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[3.0, 0.0, 0.0]], requires_grad=True)
        >>> altprop.rewards.BoundedSoftmax(lower=0.1, upper=0.9)(output, torch.tensor([0])).backward()
        >>> output.grad  # settled
        tensor([[-0., -0., -0.]])
    """

    sample = "position"

    def __init__(
        self,
        lower: float = 0.0,
        upper: float = 1.0,
        sign_only: bool = False,
        *,
        reduction: Reduction = "mean",
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__(reduction=reduction, epsilon=epsilon)
        if not 0 <= lower <= upper <= 1:
            raise ValueError(
                f"BoundedSoftmax bounds probabilities: it needs 0 <= lower <= upper <= 1, got lower={lower!r} and "
                f"upper={upper!r}."
            )
        self.lower = lower
        self.upper = upper
        self.sign_only = sign_only

    def reward(self, output: Tensor, target: Tensor) -> Tensor:
        """o·(y − p), or sign(o)·(y − p)."""
        return (output.sign() if self.sign_only else output) * self._error(output, target)

    def extra_repr(self) -> str:
        """The settings, for ``print(reward)``."""
        return f"{self.lower:g}, {self.upper:g}, sign_only={self.sign_only}, {super().extra_repr()}"

    def _assess(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.sign_only:
            return super()._assess(output, target)
        error = self._error(output, target)
        return output * error, error

    def _error(self, output: Tensor, target: Tensor) -> Tensor:
        p = output.softmax(class_dim(output))
        p = torch.where(p > self.upper, 1, torch.where(p < self.lower, 0, p))
        return probabilities(output, target, self) - p


class CorrectClassification(Reward):
    """R = sign(o) at the true class where it is the arg max (a tie counts), 0 elsewhere: only success is rewarded.

    Where the winning output is positive, as it mostly is, the value is minus the accuracy.

    The target: class indices of shape (N, d1, ...) for an output (N, C, d1, ...).

    Args:
        reduction: as in :class:`Reward`.
        epsilon: as in :class:`Reward`.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[2.0, 1.0], [2.0, 1.0]], requires_grad=True)
        >>> value = altprop.rewards.CorrectClassification()(output, torch.tensor([0, 1]))
        >>> value.item()
        -0.5
        >>> value.backward()
        >>> output.grad
        tensor([[-0.2500, -0.0000],
                [-0.0000, -0.0000]])
    """

    sample = "position"

    def reward(self, output: Tensor, target: Tensor) -> Tensor:
        """sign(o) at the true class where o_true = max o, else 0."""
        dim, true = class_dim(output), class_indices(output, target, self)
        o_true = output.gather(dim, true)
        correct = o_true == output.amax(dim, keepdim=True)
        return torch.zeros_like(output).scatter_(dim, true, torch.where(correct, o_true.sign(), 0))


class Misclassification(Reward):
    """R = −sign(o) at each class whose output is above that of the true class, 0 elsewhere: only failure is punished.

    Where those outputs are positive, as they mostly are, the value is the mean number of classes above the true one.

    The target: class indices of shape (N, d1, ...) for an output (N, C, d1, ...).

    Args:
        reduction: as in :class:`Reward`.
        epsilon: as in :class:`Reward`.

    Example:
        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[4.0, 2.0, 1.0]], requires_grad=True)
        >>> value = altprop.rewards.Misclassification()(output, torch.tensor([2]))
        >>> value.item()
        2.0
        >>> value.backward()
        >>> output.grad
        tensor([[0.2500, 0.5000, -0.0000]])
    """

    sample = "position"

    def reward(self, output: Tensor, target: Tensor) -> Tensor:
        """−sign(o) where o > o_true, else 0."""
        o_true = output.gather(class_dim(output), class_indices(output, target, self))
        return torch.where(output > o_true, -output.sign(), 0)
