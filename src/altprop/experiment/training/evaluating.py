"""How good a network is on data that it is not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from altprop.experiment.data.examples import Examples
from altprop.experiment.data.loading import batches
from altprop.experiment.metrics import score
from altprop.experiment.training.stepping import NotFiniteError, culprit

if TYPE_CHECKING:
    from altprop.experiment.training.loop import Loop

_BATCH, _NUMBERS = 1024, 2**24


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        loss: the mean objective.
        score: accuracy, R² or squared error.
        top_k: the accuracy among the k best classes, by k.
    """

    loss: float
    score: float
    top_k: dict[int, float]


def evaluate(loop: Loop, examples: Examples, what: str) -> Evaluation:
    """Evaluate a network in evaluation mode; each process takes a part of the data.

    Args:
        loop: whose network.
        examples: on what.
        what: to call the data in errors.

    Raises:
        NotFiniteError: the network's outputs, or their score, are not finite.
    """
    loop.model.eval()
    with torch.no_grad():
        loss, output, target = _outputs(loop, examples)
    loop.model.train()
    if not output.isfinite().all():
        raise NotFiniteError(f"{culprit(loop.network, _first(loop, examples))} for the {what} data", loop.step)
    reached = score(loop.job.splits.task, output, target)
    if not math.isfinite(reached):
        raise NotFiniteError(f"the score of the {what} data", loop.step)
    return Evaluation(loss, reached, {k: _top_k(output, target, k) for k in loop.job.recipe.track.top_k})


def _outputs(loop: Loop, examples: Examples) -> tuple[float, Tensor, Tensor]:
    fabric, count = loop.fabric, len(examples)
    share = math.ceil(count / fabric.world_size)
    # Alike in size, so that they can be put together: the last ones may take some a second time.
    own = torch.arange(fabric.global_rank * share, (fabric.global_rank + 1) * share) % count
    size = max(1, min(_BATCH, _NUMBERS // math.prod(loop.job.splits.input_shape)))
    losses, outputs, targets = [], [], []
    for batch in batches(examples, list(torch.split(own, size)), 0, loop.job.recipe.data.workers):
        x, y = loop.on_device(batch)
        output = loop.forward(x)
        losses.append(loop.objective(output, y).double() * len(y))
        outputs.append(loop.job.read(output))
        targets.append(y)
    loss, output, target = torch.stack(losses).sum() / len(own), torch.cat(outputs), torch.cat(targets)
    if fabric.world_size > 1:
        loss = cast(Tensor, fabric.all_reduce(loss, reduce_op="mean"))
        output, target = (cast(Tensor, fabric.all_gather(one)).flatten(0, 1)[:count] for one in (output, target))
    return float(loss), output, target


def _first(loop: Loop, examples: Examples) -> Tensor:
    x, _ = examples.batch(torch.arange(min(len(examples), 64)), 0)
    return loop.converted(loop.fabric.to_device(x))


def _top_k(output: Tensor, target: Tensor, k: int) -> float:
    best = output.topk(min(k, output.shape[1]), dim=1).indices
    return float((best == target[:, None]).any(1).double().mean())
