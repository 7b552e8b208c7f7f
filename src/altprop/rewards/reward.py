"""The base classes of rewards: judge the outputs, and hand back the reward per unit of output."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.autograd import Function

from altprop._switches import without_gradients
from altprop.rewards._checks import check_output, class_dim, describe, expect_shape_of, name_of

Reduction = Literal["mean", "sum", "none"]


class Reward(nn.Module):
    """Rewards given as the target: human feedback, or the result of any computation.

    To reward by a function instead, override :meth:`reward`. It is called once per forward, without gradients, and
    may use numpy, plain Python or a person.

    Args:
        reduction: ``"mean"``: summed over the outputs of a sample, averaged over samples (as ``F.cross_entropy``);
            ``"sum"``: summed over samples; ``"none"``: one value per sample.
        epsilon: the stabiliser ε > 0 of the division by the output.

    Attributes:
        sample: what one sample is. ``"row"``: an entry of dimension 0, all else being its outputs. ``"position"``: as
            in ``F.cross_entropy``, an entry of all dimensions but dimension 1, which holds the outputs (but dimension
            0, for an output of one dimension). For an output of shape (N, C) they are the same. ``"time"``: an entry
            of dimension 1, for outputs over time, (T, N, ...).

    Raises:
        ValueError: ``reduction`` or ``epsilon`` out of its range.

    Example:
        A person says +1 for "a higher output", −1 for "a lower one", 0 for no opinion. R counts away from zero
        instead, so that opinion becomes R by the sign of the output:

        >>> import altprop.rewards, torch
        >>> output = torch.tensor([[2.0, -0.5]], requires_grad=True)
        >>> opinion = torch.tensor([[-1.0, 1.0]])
        >>> altprop.rewards.Reward()(output, opinion * output.sign()).backward()
        >>> output.grad  # descending it lowers the first output and raises the second
        tensor([[ 0.5000, -2.0000]])

        A reward of your own, made of anything:

        >>> import numpy as np
        >>> class EvenWhole(altprop.rewards.Reward):
        ...     def reward(self, output, target):
        ...         even = np.rint(output.cpu().numpy()) % 2 == 0
        ...         return torch.from_numpy(np.where(even, 1.0, -1.0))
        >>> EvenWhole()(torch.tensor([[2.1, 4.2]], requires_grad=True), None)
        tensor(-2., grad_fn=<MeanBackward0>)
    """

    sample: ClassVar[Literal["row", "position", "time"]] = "row"

    def __init__(self, *, reduction: Reduction = "mean", epsilon: float = 1e-6) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{name_of(self)}'s reduction must be 'mean', 'sum' or 'none', got {reduction!r}.")
        if not (epsilon > 0 and math.isfinite(epsilon)):
            raise ValueError(f"{name_of(self)}'s epsilon must be a finite number > 0, got {epsilon!r}.")
        self.reduction = reduction
        self.epsilon = epsilon

    # The target is Any: a user's own reward may take something other than a tensor, or nothing.
    def reward(self, output: Tensor, target: Any) -> Tensor:
        """The reward R at each output. Override this.

        Args:
            output: the network's output, detached, in float32 or float64.
            target: what the reward was called with.

        Returns:
            R, of the output's shape and of any dtype, on any device. Here the target itself.
        """
        return expect_shape_of(output, target, self)

    def forward(self, output: Tensor, target: Any) -> Tensor:
        """Judge ``output``: minus the mean reward, whose backward hands the reward to the network.

        Args:
            output: the network's output, floating point, of shape (N, C, ...), (N,) or (C,).
            target: what this reward judges by; see its class.

        Returns:
            A scalar; with ``reduction="none"`` a value per sample. It is what one descends.

        Raises:
            TypeError: the output or the target is not of a usable kind.
            ValueError: their shapes do not match, or a target is out of its range.
        """
        check_output(output, self)
        merit, credit = without_gradients(self._assess)(_at_least_float32(output.detach()), target)
        merit = without_gradients(_sum_keeping_samples)(merit, self.sample)
        value: Tensor = _Objective.apply(output, merit, credit)
        if self.reduction == "mean":
            return value.mean()
        if self.reduction == "sum":
            return value.sum()
        if self.sample == "position":
            return value.squeeze(class_dim(output))
        return value.reshape(output.shape[1:2] if self.sample == "time" else output.shape[:1])

    def extra_repr(self) -> str:
        """The settings, for ``print(reward)``."""
        return f"reduction={self.reduction!r}, epsilon={self.epsilon:g}"

    def _assess(self, output: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        """The value to report for each output (usually R), and its credit, the reward per unit of output."""
        reward = self.reward(output, target)
        if not isinstance(reward, Tensor) or reward.shape != output.shape:
            raise ValueError(
                f"{name_of(self)}.reward must return a tensor of the output's shape {tuple(output.shape)}, got "
                f"{describe(reward)}. Give each output its reward; 0 leaves it alone."
            )
        reward = reward.to(output)
        return reward, reward / torch.where(output < 0, output - self.epsilon, output + self.epsilon)


class ProportionalReward(Reward):
    """A reward R = o·c: give c, and no output is divided by. Subclass it by overriding :meth:`credit`.

    Args:
        reduction: as in :class:`Reward`.
        epsilon: not used, for nothing is divided.

    Example:
        >>> import altprop.rewards, torch
        >>> class Shrink(altprop.rewards.ProportionalReward):
        ...     def credit(self, output, target):
        ...         return -output
        >>> output = torch.tensor([[2.0, -1.0]], requires_grad=True)
        >>> Shrink()(output, None).backward()
        >>> output.grad
        tensor([[ 2., -1.]])
    """

    def credit(self, output: Tensor, target: Any) -> Tensor:
        """The reward per unit of output, c = R / o: minus the gradient. Override this.

        Args:
            output: the network's output, detached, in float32 or float64.
            target: what the reward was called with.

        Returns:
            c, of the output's shape.
        """
        raise NotImplementedError(f"{name_of(self)} must define credit(output, target): the reward per unit of output.")

    @final
    def reward(self, output: Tensor, target: Any) -> Tensor:
        """The reward R = o·c at each output. It follows from :meth:`credit`, which is what a subclass overrides."""
        return output * self.credit(output, target)

    def _assess(self, output: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        credit = self.credit(output, target)
        return output * credit, credit


class _Objective(Function):
    """Minus the merit of each sample; the gradient is minus the credit of the outputs."""

    # The older form of forward with ctx: setup_context costs several times as much per call.
    @staticmethod
    def forward(ctx: Any, output: Tensor, merit: Tensor, credit: Tensor) -> Tensor:
        ctx.save_for_backward(credit)
        ctx.dtype = output.dtype
        return -merit

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (credit,) = ctx.saved_tensors
        return (-g * credit).to(ctx.dtype), None, None


def _at_least_float32(output: Tensor) -> Tensor:
    return output.to(torch.promote_types(output.dtype, torch.float32))


def _sum_keeping_samples(merit: Tensor, sample: str) -> Tensor:
    """Sum over the outputs of each sample, keeping the dimensions so that the result broadcasts to the output."""
    if sample == "position":
        return merit.sum(class_dim(merit), keepdim=True)
    outputs = tuple(dim for dim in range(merit.dim()) if dim != (1 if sample == "time" else 0))
    # Torch takes a sum over no dimensions as a sum over all.
    return merit.sum(outputs, keepdim=True) if outputs else merit
