"""How good an explanation is: how the model's output changes as the input is removed part by part.

References:
    Bach et al., "On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation",
    PLoS ONE 2015 (pixel flipping).
    Samek et al., "Evaluating the visualization of what a deep neural network has learned", IEEE TNNLS 2017 (region
    perturbation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from altprop._preserve import in_evaluation_mode
from altprop._switches import with_gradients, without_gradients
from altprop.explain._outputs import picked, resolve_target, target_rows
from altprop.explain._regions import Baseline, Order, Regions, baseline_of, ranks_of
from altprop.explain.lrp import LRP


@runtime_checkable
class Attributor(Protocol):
    """What explains: :class:`altprop.LRP`, the attributors of :mod:`altprop.explain.attributors` and captum's."""

    def attribute(self, inputs: Any, target: Any = None) -> Any:
        """The relevance of the inputs for the target."""
        ...


Explanation = Tensor | Attributor | Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class FlippingCurves:
    """The model's output as more and more of the input is flipped.

    Attributes:
        fraction: how much of the input is flipped, from 0, of shape (steps + 1,).
        scores: the output that was explained, of shape (batch, steps + 1).
    """

    fraction: Tensor
    scores: Tensor

    @property
    def mean(self) -> Tensor:
        """The curve averaged over the batch, of shape (steps + 1,)."""
        return self.scores.mean(0)

    @property
    def area(self) -> Tensor:
        """The area under each curve over the fraction that was flipped (trapezoids): its mean height, (batch,).

        With the most relevant first, a smaller area is a better explanation; with the least relevant first, a larger.
        """
        width = self.fraction[-1] - self.fraction[0]
        return torch.trapezoid(self.scores, self.fraction.to(self.scores), dim=1) / width.to(self.scores)


@without_gradients
def pixel_flipping(
    model: nn.Module,
    inputs: Tensor,
    explanation: Explanation | None = None,
    target: Any = None,
    *,
    order: Order = "most",
    patch_size: int | tuple[int, ...] = 1,
    baseline: Baseline = "mean",
    steps: int = 100,
    fraction: float = 1.0,
    channel_dim: int = 1,
    score: Callable[[Any], Tensor] | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> FlippingCurves:
    """Flip the input patch by patch, in the order of an explanation, and record the output.

    If the explanation is right, the output falls fast with the most relevant first, and stays long with the least
    relevant first. What it is to be compared with is ``order="random"``, the control.

    The model runs in evaluation mode and is left as it was. The baseline is made once, from the input as it is.

    Args:
        model: any module.
        inputs: floating point, of shape (batch, features), (batch, channels, length), (batch, channels, height, width)
            or with more dimensions of positions.
        explanation: the relevance, a tensor of the inputs' shape or with one channel; something that has
            ``attribute(inputs, target=...)``, such as :class:`altprop.LRP`; or a function ``explain(inputs, target)``.
            A random order needs none.
        target: which output is followed: None (the arg max for the input as it is), an int, a tensor of ints (batch,),
            a tuple or a list of tuples (outputs of more dimensions), or a float tensor of the output's shape by which
            the outputs are weighted.
        order: ``"most"`` or ``"least"`` relevant first, or ``"random"``.
        patch_size: how many positions are flipped together, in each dimension of positions or one number for all; all
            channels are. The relevance of a patch is the sum of theirs.
        baseline: what flipped patches are replaced by: ``"mean"``, of each example and channel; ``"zero"``;
            ``"uniform"``, noise between the lowest and the highest value of each example and channel; ``"blur"``, the
            input under a Gaussian with a deviation of 1/16 of its sides; a number; a tensor to be broadcast to (batch,
            channels, *positions); or a function that makes one from inputs of that shape. For inputs of shape (batch,
            features) the features are the positions of one channel.
        steps: how many steps to take, at most; not more than there are patches.
        fraction: how far to go, in (0, 1].
        channel_dim: where the inputs' channels are; -1 for tokens of shape (batch, tokens, features).
        score: applied to the model's output first, such as ``lambda output: output.softmax(-1)``, or
            ``lambda output: output.logits``. Default: the output as it is.
        batch_size: how many examples run at a time.
        seed: draws the noise, the random order, and the order among patches that are equally relevant. With another
            ``batch_size`` the same seed may draw others.

    Returns:
        The curve of each example.

    Raises:
        ValueError: an argument does not fit, or the relevance is not of the inputs' shape or not finite.

    Example:
        >>> import torch
        >>> from altprop.explain.evaluation import pixel_flipping
        >>> model = torch.nn.Linear(4, 1)
        >>> _ = model.weight.data.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0]])), model.bias.data.zero_()
        >>> x = torch.ones(1, 4)
        >>> curves = pixel_flipping(model, x, explanation=x * model.weight.data, target=0, baseline="zero")
        >>> curves.mean.tolist()
        [10.0, 6.0, 3.0, 1.0, 0.0]
        >>> curves.area.item()
        3.75
    """
    _check(inputs, explanation, order, steps, fraction)
    generator = torch.Generator().manual_seed(seed)
    read = score or (lambda output: output)
    parts = []
    with in_evaluation_mode(model):
        for start in range(0, len(inputs), batch_size):
            rows = slice(start, start + batch_size)
            x = inputs[rows]
            wanted = resolve_target(read(model(x)), target_rows(target, rows, len(inputs)))
            relevance = _relevance_of(explanation, x, wanted, rows)
            stand_in = _baseline_of_rows(baseline, inputs, rows)
            shown = _Flipped(x, relevance, channel_dim, patch_size, stand_in, order, generator)
            counts = _counts(shown.regions.count, steps, fraction)
            parts.append(torch.stack([picked(read(model(shown.after(n))), wanted) for n in counts], dim=1))
    return FlippingCurves(torch.tensor(counts) / shown.regions.count, torch.cat(parts))


def quantus_explain_func(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    composite: Any = "epsilon_plus",
    device: torch.device | str | None = None,
    **_: Any,
) -> Any:
    """Explain by :class:`altprop.LRP` within Quantus: pass it as the ``explain_func`` of any of its metrics.

    ``metric(..., explain_func=quantus_explain_func, explain_func_kwargs={"composite": "epsilon_plus_flat"})``

    Args:
        model: the model, as Quantus hands it over.
        inputs: an array of shape (batch, ...).
        targets: an array of classes, of shape (batch,).
        composite: how to explain, as for :class:`altprop.LRP`.
        device: where to compute. Default: where the model is.
        **_: what else Quantus passes on is not looked at.

    Returns:
        The relevance, a numpy array of the inputs' shape.
    """
    parameter = next(model.parameters(), torch.empty(0))
    place = parameter.device if device is None else device
    x = torch.as_tensor(inputs, dtype=parameter.dtype, device=place)
    relevance: Tensor = LRP(model, composite).attribute(x, target=torch.as_tensor(targets, device=place).long())
    return relevance.detach().cpu().numpy()


class _Flipped:
    """A batch of inputs whose patches are replaced by the baseline, one after the other."""

    def __init__(
        self,
        inputs: Tensor,
        relevance: Tensor | None,
        channel_dim: int,
        patch_size: int | tuple[int, ...],
        baseline: Baseline,
        order: Order,
        generator: torch.Generator,
    ) -> None:
        self._channel_dim = channel_dim if inputs.dim() > 2 else None
        self._inputs = self._channels_first(inputs)
        self._baseline = baseline_of(self._inputs, baseline, generator)
        self.regions = Regions(self._inputs.shape[2:], patch_size)
        own = inputs.new_zeros(len(inputs), self.regions.count)
        if relevance is not None:
            own = self.regions.relevance(self._checked(relevance, inputs))
        self._ranks = ranks_of(own, order, generator)

    def after(self, count: int) -> Tensor:
        """The inputs with the first ``count`` patches replaced, in the shape in which they came."""
        flipped = torch.where(self.regions.covered(self._ranks, count), self._baseline, self._inputs)
        return flipped.squeeze(1) if self._channel_dim is None else flipped.movedim(1, self._channel_dim)

    def _checked(self, relevance: Tensor, inputs: Tensor) -> Tensor:
        if relevance.dim() != inputs.dim():
            raise _misshapen(relevance, inputs)
        own, expected = self._channels_first(relevance), self._inputs.shape
        if own.shape not in (expected, (expected[0], 1, *expected[2:])):
            raise _misshapen(relevance, inputs)
        if not own.isfinite().all():
            raise ValueError("The relevance holds values that are NaN or infinite, and gives no order.")
        return own

    def _channels_first(self, values: Tensor) -> Tensor:
        return values.unsqueeze(1) if self._channel_dim is None else values.movedim(self._channel_dim, 1)


def _misshapen(relevance: Tensor, inputs: Tensor) -> ValueError:
    return ValueError(
        f"The relevance must have the inputs' shape {tuple(inputs.shape)}, or one channel in place of theirs, got "
        f"{tuple(relevance.shape)}."
    )


def _relevance_of(explanation: Explanation | None, x: Tensor, target: Any, rows: slice) -> Tensor | None:
    if explanation is None:
        return None
    if isinstance(explanation, Tensor):
        return _detached(explanation[rows], x)
    if isinstance(explanation, Attributor):
        return _detached(with_gradients(explanation.attribute)(x, target=target), x)
    return _detached(with_gradients(explanation)(x, target), x)


def _baseline_of_rows(baseline: Baseline, inputs: Tensor, rows: slice) -> Baseline:
    """The baseline of some examples, where it is a tensor with an entry for each."""
    if isinstance(baseline, Tensor) and baseline.dim() == max(inputs.dim(), 3) and len(baseline) == len(inputs):
        return baseline[rows]
    return baseline


def _detached(relevance: Tensor, x: Tensor) -> Tensor:
    return relevance.detach().to(x)


def _counts(patches: int, steps: int, fraction: float) -> list[int]:
    """How many patches are flipped at each step, from none."""
    last = max(1, round(patches * fraction))
    taken = min(steps, last)
    return [round(last * step / taken) for step in range(taken + 1)]


def _check(inputs: Tensor, explanation: Explanation | None, order: Order, steps: int, fraction: float) -> None:
    if not inputs.is_floating_point() or inputs.dim() < 2 or not len(inputs):
        raise ValueError(
            f"The inputs must be floating point, of shape (batch, features) or (batch, channels, *positions), got "
            f"{str(inputs.dtype).removeprefix('torch.')} of shape {tuple(inputs.shape)}."
        )
    if explanation is None and order != "random":
        raise ValueError(f"The order {order!r} needs an explanation: relevance, an attributor or a function.")
    if steps < 1 or not 0 < fraction <= 1:
        raise ValueError(f"steps must be at least 1 and fraction in (0, 1], got {steps} and {fraction}.")
