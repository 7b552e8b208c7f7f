"""Whether a network that was trained does anything: better than a guess, and with units that are alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from altprop.experiment.data.examples import Examples, whole
from altprop.experiment.records.statistics import CHANCE_LEVEL, is_above_chance
from altprop.experiment.records.study import Cell
from altprop.nn import Step

if TYPE_CHECKING:
    from altprop.experiment.training.job import Job
    from altprop.experiment.training.loop import Loop

DEAD = 0.9
"""The share of the hidden units that do nothing from which on a network says so."""

_SAMPLES, _NUMBERS = 1024, 2**24
_SILENT: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, Step)


def at_chance(job: Job, cell: Cell) -> str:
    """Words for a network that is no better than a guess; empty if it is."""
    score, test = cell.score, job.splits.test
    if score is None:
        return ""
    match job.splits.task:
        case "classification":
            counts = torch.bincount(test.targets)
            share = float(counts.max()) / len(test)
            if is_above_chance(round(score * len(test)), len(test), share):
                return ""
            guess = (
                f"its test accuracy of {score:.3f} is not above {share:.3f}, the share of the most common class "
                f"(binomial test over {len(test)} samples, level {CHANCE_LEVEL:g})"
            )
        case "regression":
            if score > 0:
                return ""
            guess = f"its R² of {score:.3f} on the test data is not above 0, that of predicting the mean"
        case "reconstruction":
            error = _error_of_mean(test)
            if score < error:
                return ""
            guess = (
                f"its squared error of {score:.3f} on the test data is not below {error:.3f}, that of the mean input"
            )
    return f"{_who(job)} is at chance: {guess}. Another learning rate may help."


def dead_units(loop: Loop) -> str:
    """Words for a network of whose hidden units hardly any is ever active on the test data; empty if they are.

    Dead is a ReLU, a step or a spiking neuron that gives 0 for each sample of a batch: a unit of a layer or, of maps,
    a channel. What is saturated, such as a tanh, is not dead.
    """
    splits = loop.job.splits
    x, _ = whole(splits.test, min(_SAMPLES, max(1, _NUMBERS // splits.inputs)))
    with _watched(loop.network) as active:
        loop.model.eval()
        with torch.no_grad():
            loop.model(loop.machine.to_device(x))
        loop.model.train()
    units = sum(map(len, active))
    dead = units - sum(int(one.sum()) for one in active)
    if not units or dead < DEAD * units:
        return ""
    return f"{_who(loop.job)} has {dead} of {units} hidden units dead: they give 0 for each of {len(x)} test samples."


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[Tensor]]:
    """A list, to which each call of a layer of units that can die adds which of them are active."""
    active: list[Tensor] = []
    by_layer: dict[nn.Module, int] = {}

    def look(module: nn.Module, _: object, output: object) -> None:
        given = output[0] if isinstance(output, tuple) else output
        if not isinstance(given, Tensor) or given.dim() < 2:
            return
        # Of maps a channel is a unit; of tokens, and of one vector for each sample, an entry of the vector.
        channel = 1 if given.dim() != 3 else 2
        now = given.detach().ne(0).movedim(channel, 0).flatten(1).any(1).cpu()
        if module in spiking and module in by_layer:
            active[by_layer[module]] |= now  # the same units, a step of time later
            return
        by_layer[module] = len(active)
        active.append(now)

    spiking = {module for module in network.modules() if _is_spiking(module)}
    watched = [module for module in network.modules() if isinstance(module, _SILENT) or module in spiking]
    handles = [module.register_forward_hook(look) for module in watched]
    try:
        yield active
    finally:
        for handle in handles:
            handle.remove()


def _is_spiking(module: nn.Module) -> bool:
    """Whether it is a neuron of snntorch's, which is not imported for that."""
    return hasattr(module, "mem") and hasattr(module, "reset_mem")


def _error_of_mean(test: Examples) -> float:
    _, target = whole(test)
    return float((target.double() - target.double().mean(0)).square().mean())


def _who(job: Job) -> str:
    return f"{job.label} (seed {job.seed})"
