"""How a rule's updates compare with backprop's gradients, and feedback weights with forward weights.

The comparisons are those by which learning rules are judged in the literature: the angle between what a rule does to
the weights and what backprop would do, the ratio of their lengths, how much of an update is exactly zero, and whether
the feedback weights turn to the forward weights ("alignment"). Sums are taken in float64.

A cosine is 0 if one of the vectors is zero, and nan, undefined, if both are. A ratio of lengths is inf if only the
denominator is zero, and nan if both are. Averages leave out the batches where a value is undefined.

Reference:
    Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning", Nature
    Communications 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from altprop._gini import gini as gini  # noqa: PLC0414  (re-exported)
from altprop._preserve import preserved
from altprop._sharding import full_tensor
from altprop._switches import with_gradients
from altprop._targets import targets
from altprop._vector_sums import Measure, VectorSums, cosine, mean, norm_ratio, sparsity
from altprop.nn._feedback_layer import FeedbackLayer
from altprop.ops.fingerprint import fingerprint
from altprop.rule import Attachment
from altprop.rules._blocks import hidden_gradients

Step = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Scores:
    """One measure of a model, from the whole down to each parameter.

    Attributes:
        total: over all parameters together, as one long vector.
        biases: over all biases together (parameters with "bias" in their own name); nan if there are none.
        layers: by the name of the module that owns the parameters, all of them together; "" is the model itself.
        parameters: by the name of the parameter, as in ``named_parameters()``.
    """

    total: float
    biases: float
    layers: dict[str, float]
    parameters: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """A rule's updates against backprop's gradients, averaged over batches.

    Attributes:
        batches: how many batches were compared.
        cosine: the cosine of the angle between update and gradient: 1 for the same direction, 0 for unrelated ones.
        norm_ratio: |update| / |gradient|.
        sparsity: the fraction of the update's entries that are zero.
    """

    batches: int
    cosine: Scores
    norm_ratio: Scores
    sparsity: Scores
    _found: list[dict[str, VectorSums]] = field(repr=False, compare=False)

    @classmethod
    def _of(cls, found: list[dict[str, VectorSums]]) -> Comparison:
        return cls(len(found), _scores(found, cosine), _scores(found, norm_ratio), _scores(found, sparsity), found)

    def without(self, *layers: str) -> Comparison:
        """The same over all parameters but those that these modules own, such as the output layer's."""
        return self._of([{n: s for n, s in one.items() if n.rpartition(".")[0] not in layers} for one in self._found])


@with_gradients
def compare_with_backprop(
    model: nn.Module,
    objective: Callable[[Any, Any], Tensor] | None = None,
    batches: Iterable[Any] = (),
    max_batches: int | None = None,
    *,
    step: Step | None = None,
    threshold: float = 0.0,
) -> Comparison:
    """Compare the updates of the rule that is attached to ``model`` with backprop's gradients.

    For each batch both are computed from the same state: the same weights, the same dropout masks. Afterwards the
    model, its gradients and the random state are as before. Parameters with ``requires_grad=False`` are left out, and
    so are those that the rule trains and backprop does not reach: they are the rule's own, such as feedback weights.
    Otherwise a parameter without a gradient counts as one with a gradient of zero.

    Args:
        model: a model with a rule attached (to it, or to modules within it), on its device and in the mode, training or
            evaluation, that you want compared.
        objective: the loss or reward, called as ``objective(model(x), y)``.
        batches: pairs (x, y); for other kinds of batches pass ``step``.
        max_batches: how many batches to take; by default all.
        step: called as ``step(model, batch)`` in place of the objective; returns the loss.
        threshold: entries of an update up to this magnitude count as zero, for the sparsity.

    Returns:
        The comparison. The cosine is 1, and the ratio of lengths too, where the rule does what backprop does.

    Raises:
        ValueError: no rule is attached, there is no batch, or not one of ``objective`` and ``step`` is given.
        TypeError: a batch is not a pair, or the loss is not a scalar tensor.

    Example:
        >>> import altprop, torch
        >>> from torch.nn import functional as F
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> batches = [(torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(2)]
        >>> with altprop.Shallow().attach(model):
        ...     comparison = altprop.measure.compare_with_backprop(model, F.cross_entropy, batches)
        >>> {layer: round(cosine, 6) for layer, cosine in comparison.cosine.layers.items()}
        {'0': 0.0, '2': 1.0}
        >>> comparison.sparsity.layers["0"]
        1.0
    """
    attachments = _attachments(model)
    run = _step(objective, step)
    found = []
    with preserved(model):
        state = _State(model)
        for batch in islice(batches, max_batches):
            # Backprop first, then restore everything (random state too), so that the rule starts from the same state.
            with state.preserved(), _suspended(attachments):
                gradients = _gradients(model, run, batch)
            updates = _gradients(model, run, batch)
            found.append(_sums_by_parameter(model, updates, gradients, threshold))
    if not found:
        raise ValueError("There is no batch to compare on: batches is empty, or an iterator that has run out.")
    return Comparison._of(found)


def update_sparsity(model: nn.Module, threshold: float = 0.0) -> Scores:
    """The fraction of the entries of ``.grad`` that are zero: of the weights that the update leaves alone.

    Args:
        model: any module after ``backward()``. A parameter that got no gradient counts as all zero; one with
            ``requires_grad=False`` is left out.
        threshold: entries up to this magnitude count as zero.

    Returns:
        The sparsities, from 0 to 1; nan where there are no entries at all.

    Raises:
        ValueError: no parameter has a gradient.

    Example:
        >>> import altprop, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> model(torch.tensor([[3.0, 0.0]])).sum().backward()
        >>> altprop.measure.update_sparsity(model).parameters
        {'weight': 0.5, 'bias': 0.0}
    """
    updates = _current_gradients(model)
    if all(update is None for update in updates.values()):
        raise ValueError("No parameter of the model has a gradient. Call this after backward(), before zero_grad().")
    return _scores([_sums_by_parameter(model, updates, updates, threshold)], sparsity)


@dataclass(frozen=True)
class WeightScores:
    """One measure of a model's feedback weights.

    Attributes:
        total: over all layers together, as one long vector; nan if there are none.
        layers: by the name of the module that owns the weights, all of them together; "" is the model itself.
    """

    total: float
    layers: dict[str, float]


@dataclass(frozen=True)
class WeightAlignment:
    """Feedback weights against forward weights.

    Attributes:
        cosine: the cosine of the angle between them: 1 where the error goes back as in backprop, but for its scale.
        norm_ratio: |feedback weights| / |forward weights|.
    """

    cosine: WeightScores
    norm_ratio: WeightScores


def weight_alignment(model: nn.Module) -> WeightAlignment:
    """Compare forward and feedback weights, for each layer that has both.

    Args:
        model: any module. A layer has both while one of the rules with feedback weights is attached, if it is one of
            those of :mod:`altprop.nn`, or if its ``weight`` and ``feedback_weight`` are tensors of one shape.

    Returns:
        Cosines and ratios of lengths; without layers if no layer has feedback weights. The weights of an attention's
        input projections count as one layer, named as the attention is.

    Example:
        >>> import altprop, torch
        >>> model = torch.nn.Sequential(altprop.nn.FALinear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> _ = model[0].feedback_weight.copy_(2 * model[0].weight.detach())
        >>> alignment = altprop.measure.weight_alignment(model)
        >>> {layer: round(cosine, 6) for layer, cosine in alignment.cosine.layers.items()}
        {'0': 1.0}
        >>> round(alignment.norm_ratio.total, 6)
        2.0
    """
    pairs = {name: reduce(VectorSums.__add__, own) for name, own in _weight_pairs(model)}

    def scores(measure: Measure) -> WeightScores:
        total = [measure(reduce(VectorSums.__add__, pairs.values()))] if pairs else []
        return WeightScores(mean(total), {name: mean([measure(sums)]) for name, sums in pairs.items()})

    return WeightAlignment(scores(cosine), scores(norm_ratio))


@with_gradients
def teaching_alignment(
    model: nn.Module,
    objective: Callable[[Any, Any], Tensor] | None = None,
    batches: Iterable[Any] = (),
    max_batches: int | None = None,
    *,
    step: Step | None = None,
) -> dict[str, float]:
    """The cosine between the signal that teaches each hidden layer h_l and backprop's error ∂L/∂h_l.

    For rules that cut a model into blocks, such as :class:`altprop.DFA`. Arguments, and what is restored afterwards,
    are as for :func:`compare_with_backprop`.

    Returns:
        The cosine averaged over batches, by the name of the layer that h_l enters; empty for rules that cut nothing.

    Example:
        >>> import altprop, torch
        >>> from torch.nn import functional as F
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> with altprop.DFA(seed=0, init=lambda B: B.copy_(model[2].weight)).attach(model):
        ...     found = altprop.measure.teaching_alignment(
        ...         model, F.cross_entropy, [(torch.randn(6, 4), torch.arange(6) % 3)]
        ...     )
        >>> {name: round(cosine, 6) for name, cosine in found.items()}
        {'2': 1.0}
    """
    attachments = _attachments(model)
    run = _step(objective, step)
    found = []
    with preserved(model):
        state = _State(model)
        for batch in islice(batches, max_batches):
            with state.preserved(), _suspended(attachments), hidden_gradients(model) as errors:
                _gradients(model, run, batch)
            with hidden_gradients(model) as signals:
                _gradients(model, run, batch)
            found.append({name: VectorSums.of(signals[name], errors[name]) for name in signals if name in errors})
    names = dict.fromkeys(name for pairs in found for name in pairs)
    return {name: mean([cosine(pairs[name]) for pairs in found if name in pairs]) for name in names}


def _scores(batches: list[dict[str, VectorSums]], measure: Measure) -> Scores:
    def averages(group: Callable[[str], Any]) -> dict[Any, float]:
        grouped = [_sums(pairs, group) for pairs in batches]
        names = dict.fromkeys(name for sums in grouped for name in sums)
        return {name: mean([measure(sums[name]) for sums in grouped if name in sums]) for name in names}

    return Scores(
        total=averages(lambda name: "all").get("all", math.nan),
        biases=averages(lambda name: "bias" in name.rpartition(".")[2]).get(True, math.nan),
        layers=averages(lambda name: name.rpartition(".")[0]),
        parameters=averages(str),
    )


def _sums(pairs: dict[str, VectorSums], group: Callable[[str], Any]) -> dict[Any, VectorSums]:
    """Add up the sums of the names that ``group`` gives one key."""
    totals: dict[Any, VectorSums] = {}
    for name, own in pairs.items():
        key = group(name)
        totals[key] = totals[key] + own if key in totals else own
    return totals


def _sums_by_parameter(
    model: nn.Module, updates: dict[str, Tensor | None], gradients: dict[str, Tensor | None], threshold: float
) -> dict[str, VectorSums]:
    """Sums over update and gradient of each parameter, leaving out those that only the rule trains."""
    found = {}
    for name, parameter in model.named_parameters():
        update, gradient = updates.get(name), gradients.get(name)
        owned_by_rule = gradient is None and update is not None
        if parameter.requires_grad and not owned_by_rule:
            zero = torch.zeros_like(parameter)
            u, v = (zero if value is None else value for value in (update, gradient))
            found[name] = VectorSums.of(u, v, threshold)
    return found


def _weight_pairs(model: nn.Module) -> Iterator[tuple[str, list[VectorSums]]]:
    for name, module in model.named_modules():
        if isinstance(module, FeedbackLayer):
            yield name, [VectorSums.of(feedback, forward) for forward, feedback in module.feedback_pairs()]
            continue
        feedback, forward = getattr(module, "feedback_weight", None), getattr(module, "weight", None)
        if isinstance(feedback, Tensor) and isinstance(forward, Tensor) and feedback.shape == forward.shape:
            yield name, [VectorSums.of(feedback, forward)]


def _gradients(model: nn.Module, run: Step, batch: Any) -> dict[str, Tensor | None]:
    """The gradients that one backward pass leaves in ``.grad``."""
    model.zero_grad(set_to_none=True)
    loss = run(model, batch)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise TypeError(f"The objective must give one number as a tensor, got {kind}. Reduce it: loss.mean().")
    loss.backward()  # type: ignore[no-untyped-call]
    return _current_gradients(model)


def _current_gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def _step(objective: Callable[[Any, Any], Tensor] | None, step: Step | None) -> Step:
    if step is not None and objective is None:
        return step
    if objective is None or step is not None:
        given = "neither" if objective is None else "both"
        raise ValueError(
            f"compare_with_backprop needs either objective, called as objective(model(x), y), or step, called as "
            f"step(model, batch); got {given}."
        )

    def supervised(model: nn.Module, batch: Any) -> Tensor:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise TypeError(
                f"An objective needs batches that are pairs (x, y), got a {type(batch).__name__}{size}. For other "
                f"batches pass step=lambda model, batch: ..., which returns the loss."
            )
        x, y = batch
        with targets(y):
            return objective(model(x), y)

    return supervised


def _attachments(model: nn.Module) -> list[Attachment]:
    """Those of the model and of modules within it: a wrapper such as ``torch.compile`` has the attached one inside."""
    found = [attachment for module in model.modules() if (attachment := Attachment.of(module)) is not None]
    if not found:
        raise ValueError(
            f"No rule is attached to this {type(model).__name__}, so there is nothing to compare with backprop. Attach "
            f"one first: altprop.LFP().attach(model)."
        )
    return found


class _State:
    """Restores what a pass changes of a model, without copying weights that it does not change.

    A forward pass writes into buffers, and hardly ever into parameters: the first pass shows which model is the
    exception (one that bounds the norm of its own weights, say).
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._writes: bool | None = None

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Leave the model as it is, like :func:`altprop._preserve.preserved`."""
        before = self._fingerprints() if self._writes is None else []
        with preserved(self._model, self._model.buffers() if self._writes is False else None):
            yield
            if self._writes is None:
                pairs = zip(before, self._fingerprints(), strict=True)
                self._writes = not all(torch.equal(earlier, later) for earlier, later in pairs)

    def _fingerprints(self) -> list[Tensor]:
        return [fingerprint(full_tensor(parameter)).clone() for parameter in self._model.parameters()]


@contextmanager
def _suspended(attachments: list[Attachment]) -> Iterator[None]:
    with ExitStack() as stack:
        for attachment in attachments:
            stack.enter_context(attachment.suspended())
        yield
