"""What weights and channels are ranked by: what has the lowest score is pruned first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import altprop
from altprop.experiment.composites import make_composite
from altprop.experiment.errors import InputError
from altprop.experiment.registry import make_rule
from altprop.experiment.seeding import seeded
from altprop.experiment.stress.masks import Scores, channel_dim, layers_of
from altprop.explain import rank_channels, rank_weights

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subject:
    """A network, and all that a ranking may look at.

    Attributes:
        model: the network, in evaluation mode.
        batches: of training data.
        rule: the label of the rule that trained it.
        outputs: how many values it gives for a sample.
        objective: what was descended.
        composite: the label of the composite for relevance.
        low: the lowest value that an input has.
        high: the highest.
        seed: of what the rule draws.
        draw: the seed of the random ranking.
    """

    model: nn.Module
    batches: Batches
    rule: str
    outputs: int
    objective: Callable[[Tensor, Tensor], Tensor]
    composite: str
    low: float
    high: float
    seed: int
    draw: int


def magnitude(subject: Subject) -> Scores:
    """|w|."""
    return {name: layer.get_parameter("weight").detach().abs() for name, layer in layers_of(subject.model).items()}


def relevance(subject: Subject) -> Scores:
    """The size of the mean relevance that goes through each weight to the true class, over training data."""
    found = rank_weights(_lrp(subject), subject.batches)
    return {name: found[f"{name}.weight"].abs() for name in layers_of(subject.model) if f"{name}.weight" in found}


def relevance_of_channels(subject: Subject) -> Scores:
    """The size of the mean relevance of each channel for the true class, over training data."""
    return {name: one.abs() for name, one in rank_channels(_lrp(subject), subject.batches).items()}


def updates(subject: Subject) -> Scores:
    """The mean size of the update that the network's rule gives each weight, over batches of training data."""
    model, layers = subject.model, layers_of(subject.model)
    sums = {name: torch.zeros_like(layer.get_parameter("weight")) for name, layer in layers.items()}
    with seeded(subject.seed), make_rule(subject.rule, subject.outputs).attach(model):
        for x, y in subject.batches:
            model.zero_grad()
            with altprop.targets(y):
                loss = subject.objective(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            for name, layer in layers.items():
                gradient = layer.get_parameter("weight").grad
                sums[name] += 0 if gradient is None else gradient.abs()
        model.zero_grad()
    return {name: total / len(subject.batches) for name, total in sums.items()}


def random(subject: Subject) -> Scores:
    """Chance: what every other ranking must beat."""
    generator = torch.Generator().manual_seed(subject.draw)
    # From (0, 1], so that no weight has a score of zero.
    return {
        name: (1 - torch.rand(weight.shape, generator=generator)).to(weight)
        for name, weight in magnitude(subject).items()
    }


CRITERIA: dict[str, Callable[[Subject], Scores]] = {
    "magnitude": magnitude,
    "relevance": relevance,
    "updates": updates,
    "random": random,
}
"""By name what ranks the weights."""


def rank(by: str, subject: Subject) -> Scores:
    """Rank the weights of all layers.

    Args:
        by: one of :data:`CRITERIA`.
        subject: what to rank.

    Raises:
        InputError: the network cannot be explained.
    """
    return _named(by, subject, CRITERIA[by])


def rank_hidden_channels(by: str, subject: Subject) -> Scores:
    """Rank the channels (or neurons) of all layers but the last, whose channels are the outputs.

    The score of a channel is the mean over its weights; relevance has one for channels.

    Args:
        by: one of :data:`CRITERIA`.
        subject: what to rank.

    Raises:
        InputError: the network cannot be explained.
    """
    hidden = dict(list(layers_of(subject.model).items())[:-1])
    if by == "relevance":
        scores = _named(by, subject, relevance_of_channels)
        return {name: scores[name] for name in hidden if name in scores}
    scores = rank(by, subject)
    return {name: scores[name].movedim(channel_dim(layer), 0).flatten(1).mean(1) for name, layer in hidden.items()}


def _named(by: str, subject: Subject, ranks: Callable[[Subject], Scores]) -> Scores:
    try:
        return ranks(subject)
    except InputError:
        raise
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"The network that {subject.rule} trained cannot be ranked by {by}: {error}") from error


def _lrp(subject: Subject) -> altprop.LRP:
    composite = make_composite(subject.composite, low=subject.low, high=subject.high)
    return altprop.LRP(subject.model, composite)
