"""Objectives that need no derivative, called like a loss: ``reward(output, target).backward()``.

A reward R judges each output o of a network. R > 0 asks for more of what the output says (further from zero, on the
side where it is), R < 0 for less. It may be any function at all: a count, a rule, a person's opinion. What it hands
back to the network, in the place of a loss's gradient, is

    ∂/∂o := −R / (o + ε·sign o)        (sign 0 := 1; times 1/N for ``reduction="mean"``, N the number of samples)

the reward per unit of output, with a minus since optimizers descend. For R = o·c that is −c, and no division is made:
so :class:`Softmax` has the gradient of cross-entropy, and :class:`Regression` that of half the squared error. Rewards
work with every rule, and without any. Where a reward's formula has sign(o), an output of exactly zero gets none.

The value is minus the mean reward. Rewards are computed in float32 at least, whatever the dtype of the output; the
value keeps that dtype, and the gradient has the output's.

Reference:
    Weber et al., "Efficient and Flexible Neural Network Training through Layer-wise Feedback Propagation", TMLR 2025.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.autograd import Function

Reduction = Literal["mean", "sum", "none"]


class Reward(nn.Module):
    """Rewards that you give yourself, as the target: human feedback, or the result of any computation.

    To reward by a function instead, override :meth:`reward`. It is called once per forward, without gradients, and
    may use numpy, plain Python or a person.

    Args:
        reduction: ``"mean"``: summed over the outputs of a sample, averaged over samples (as ``F.cross_entropy``);
            ``"sum"``: summed over samples; ``"none"``: one value per sample.
        epsilon: the stabiliser ε > 0 of the division by the output.

    Attributes:
        sample: what one sample is. ``"row"``: an entry of dimension 0, all else being its outputs. ``"position"``: as
            in ``F.cross_entropy``, an entry of all dimensions but dimension 1, which holds the outputs (but dimension
            0, for an output of one dimension). For an output of shape (N, C) they are the same.

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

    sample: ClassVar[Literal["row", "position"]] = "row"

    def __init__(self, *, reduction: Reduction = "mean", epsilon: float = 1e-6) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{_name(self)}'s reduction must be 'mean', 'sum' or 'none', got {reduction!r}.")
        if not (epsilon > 0 and math.isfinite(epsilon)):
            raise ValueError(f"{_name(self)}'s epsilon must be a finite number > 0, got {epsilon!r}.")
        self.reduction = reduction
        self.epsilon = epsilon

    # The target is Any: a reward of the user's own may want something other than a tensor, or nothing.
    def reward(self, output: Tensor, target: Any) -> Tensor:
        """The reward R at each output. Override this.

        Args:
            output: the network's output, detached, in float32 or float64.
            target: what the reward was called with.

        Returns:
            R, of the output's shape and of any dtype, on any device. Here the target itself.
        """
        return _expect_shape_of(output, target, self)

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
        _check_output(output, self)
        with torch.no_grad():
            merit, credit = self._assess(_at_least_float32(output.detach()), target)
            merit = _sum_keeping_samples(merit, self.sample)
        value: Tensor = _Objective.apply(output, merit, credit)
        if self.reduction == "mean":
            return value.mean()
        if self.reduction == "sum":
            return value.sum()
        return value.squeeze(_class_dim(output)) if self.sample == "position" else value.reshape(output.shape[:1])

    def extra_repr(self) -> str:
        """The settings, for ``print(reward)``."""
        return f"reduction={self.reduction!r}, epsilon={self.epsilon:g}"

    def _assess(self, output: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        """What the value reports of each output (R, as a rule), and its credit: the reward per unit of output."""
        reward = self.reward(output, target)
        if not isinstance(reward, Tensor) or reward.shape != output.shape:
            raise ValueError(
                f"{_name(self)}.reward must return a tensor of the output's shape {tuple(output.shape)}, got "
                f"{_describe(reward)}. Give each output its reward; 0 leaves it alone."
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
        raise NotImplementedError(f"{_name(self)} must define credit(output, target): the reward per unit of output.")

    @final
    def reward(self, output: Tensor, target: Any) -> Tensor:
        """The reward R = o·c at each output. It follows from :meth:`credit`, which is what a subclass overrides."""
        return output * self.credit(output, target)

    def _assess(self, output: Tensor, target: Any) -> tuple[Tensor, Tensor]:
        credit = self.credit(output, target)
        return output * credit, credit


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
        return _probabilities(output, target, self) - output.softmax(_class_dim(output))


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
        return _probabilities(output, target, self) - output.sigmoid()


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
        target = _expect_shape_of(output, target, self)
        _check_range(target, 0, 1, self, "For labels −1 and 1, pass (target + 1) / 2; for classes, use Softmax.")
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
        p = output.softmax(_class_dim(output))
        p = torch.where(p > self.upper, 1, torch.where(p < self.lower, 0, p))
        return _probabilities(output, target, self) - p


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
        dim, true = _class_dim(output), _class_indices(output, target, self)
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
        o_true = output.gather(_class_dim(output), _class_indices(output, target, self))
        return torch.where(output > o_true, -output.sign(), 0)


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
            raise TypeError(f"{_name(self)}'s neuron must be the index of an output, or None for all; got {neuron!r}.")
        self.neuron = neuron

    def forward(self, output: Tensor, target: object = None) -> Tensor:
        """Judge ``output``, whatever the ``target``; see :meth:`Reward.forward`."""
        return super().forward(output, target)

    def reward(self, output: Tensor, target: object = None) -> Tensor:
        """sign(o)·(1 − σ(o)), at the neuron alone if one was named."""
        if self.neuron is None:
            return _towards_more(output)
        _check_neuron(output, self.neuron, self)
        reward, dim = torch.zeros_like(output), _class_dim(output)
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
        return _expect_shape_of(output, target, self).to(output) - output

    def _assess(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        error = self.credit(output, target)
        return -0.5 * error.square(), error


REWARDS: dict[str, type[Reward]] = {
    "softmax": Softmax,
    "sigmoid": Sigmoid,
    "binary-sigmoid": BinarySigmoid,
    "bounded-softmax": BoundedSoftmax,
    "correct-classification": CorrectClassification,
    "misclassification": Misclassification,
    "maximize-neuron": MaximizeNeuron,
    "minimize-neuron": MinimizeNeuron,
    "regression": Regression,
}
"""Every reward that follows from output and target, by the name that the command line knows it by."""


class _Objective(Function):
    """Minus the merit of the samples, with minus the credit of the outputs for a gradient."""

    # The older form of forward, with ctx: setup_context costs several times as much per call.
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


def _class_dim(output: Tensor) -> int:
    return 1 if output.dim() > 1 else 0


def _sum_keeping_samples(merit: Tensor, sample: str) -> Tensor:
    """Sum over the outputs of each sample, keeping the dimensions so that the result broadcasts to the output."""
    if sample == "position":
        return merit.sum(_class_dim(merit), keepdim=True)
    outputs = tuple(range(1, merit.dim()))
    # To torch, a sum over no dimension is a sum over all.
    return merit.sum(outputs, keepdim=True) if outputs else merit


def _towards_more(output: Tensor) -> Tensor:
    return output.sign() * (1 - output.sigmoid())


def _probabilities(output: Tensor, target: Any, reward: Reward) -> Tensor:
    """The target as probabilities of the output's shape: one-hot if it is class indices."""
    if isinstance(target, Tensor) and target.is_floating_point():
        hint = "These are probabilities, one per output; class indices must be integers: target.long()."
        return _expect_shape_of(output, target, reward, hint).to(output)
    return torch.zeros_like(output).scatter_(_class_dim(output), _class_indices(output, target, reward), 1)


def _class_indices(output: Tensor, target: Any, reward: Reward) -> Tensor:
    """The true classes as int64, shaped to index the output along its classes."""
    dim = _class_dim(output)
    if output.dim() == 0:
        raise ValueError(
            f"{_name(reward)} needs an output per class, of shape (N, C, ...) or (C,); got a single number."
        )
    expected = (*output.shape[:dim], *output.shape[dim + 1 :])
    if not isinstance(target, Tensor) or target.is_floating_point() or target.is_complex():
        raise TypeError(
            f"{_name(reward)} needs class indices, an integer tensor of shape {expected}; got {_describe(target)}. "
            f"From one-hot or probabilities, pass target.argmax({dim})."
        )
    if target.shape != expected:
        raise ValueError(
            f"{_name(reward)} needs class indices of shape {expected} for an output of shape {tuple(output.shape)}, "
            f"got {_describe(target)}. From one-hot, pass target.argmax({dim})."
        )
    hint = "Number the classes from 0; leave out samples without a class: reward(output[keep], target[keep])."
    _check_range(target, 0, output.shape[dim] - 1, reward, hint)
    return target.long().unsqueeze(dim)


def _check_range(target: Tensor, low: int, high: int, reward: Reward, hint: str) -> None:
    # Only on the CPU: to look at the values elsewhere would wait for the device.
    if target.device.type != "cpu" or torch.compiler.is_compiling() or not target.numel():
        return
    smallest, largest = target.min().item(), target.max().item()
    if smallest < low or largest > high:
        raise ValueError(f"{_name(reward)} needs targets from {low} to {high}, got {smallest} to {largest}. {hint}")


def _check_neuron(output: Tensor, neuron: int, reward: Reward) -> None:
    count = output.shape[_class_dim(output)] if output.dim() else 0
    if not -count <= neuron < count:
        raise ValueError(
            f"{_name(reward)}({neuron}) is out of range: the output of shape {tuple(output.shape)} has {count} neurons "
            f"in dimension {_class_dim(output)}. Choose one from 0 to {count - 1}, or None for all."
        )


def _check_output(output: object, reward: Reward) -> None:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise TypeError(
            f"{_name(reward)} judges the output of a network, a floating-point tensor; got {_describe(output)}. If the "
            f"model returns several things, pass the one to judge, such as output.logits."
        )


def _expect_shape_of(output: Tensor, target: Any, reward: Reward, hint: str = "") -> Tensor:
    if not isinstance(target, Tensor):
        raise TypeError(
            f"{_name(reward)} needs a tensor of the output's shape {tuple(output.shape)} for a target, got "
            f"{_describe(target)}. Pass torch.as_tensor(target)."
        )
    if target.shape != output.shape:
        hint = hint or "Reshape one of them; shapes are not broadcast, for that hides mistakes."
        raise ValueError(
            f"{_name(reward)} needs a target of the output's shape {tuple(output.shape)}, got {_describe(target)}. "
            f"{hint}"
        )
    return target


def _describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return "None" if value is None else f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _name(reward: Reward) -> str:
    return type(reward).__name__
