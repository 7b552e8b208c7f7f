"""Rank weights and channels by their contribution over a whole data set, as for pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from altprop.explain.composites import LAYERS
from altprop.explain.lrp import LRP


def rank_weights(lrp: LRP, loader: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The mean relevance of each weight over a data set, for its own targets.

    Weights with little of it can go with little harm. Take the absolute value to rank by the size of the contribution.

    Args:
        lrp: explains the network.
        loader: batches of inputs and targets (batch).

    Returns:
        From the names of parameters to tensors of their shapes: :meth:`altprop.LRP.weight_relevance` of one example.

    Raises:
        ValueError: there is no batch.

    Example:
        >>> import altprop, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> batches = [(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))]
        >>> relevance = altprop.explain.rank_weights(altprop.LRP(model, "epsilon"), batches)
        >>> {name: tuple(tensor.shape) for name, tensor in relevance.items()}
        {'0.weight': (8, 4), '2.weight': (3, 8)}
    """
    return _mean(loader, lrp.weight_relevance)


def rank_channels(lrp: LRP, loader: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The mean relevance of each channel (or neuron) over a data set, for its own targets.

    Args:
        lrp: explains the network.
        loader: batches of inputs and targets (batch).

    Returns:
        From the names of linear layers and convolutions to (channels), summed over positions, for one example.

    Raises:
        ValueError: there is no batch.
    """
    modules = dict(lrp.model.named_modules())
    layers = {name: modules[name] for name in modules if isinstance(modules[name], LAYERS)}

    def of_channels(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for call, R in lrp._traced(x, y, None, layers).items():
            name = call.partition("#")[0]
            last = -1 if "Linear" in type(layers[name]).__name__ else 1
            total = R.movedim(last, 0).flatten(1).sum(1)
            found[name] = found[name] + total if name in found else total
        return found

    return _mean(loader, of_channels)


def _mean(
    loader: Iterable[tuple[Tensor, Tensor]], of_batch: Callable[[Tensor, Tensor], dict[str, Tensor]]
) -> dict[str, Tensor]:
    totals: dict[str, Tensor] = {}
    examples = 0
    for x, y in loader:
        examples += len(x)
        for name, R in of_batch(x, y).items():
            totals[name] = totals[name] + R.double() if name in totals else R.double()
    if not examples:
        raise ValueError("There is nothing to rank by: the loader gave no batch.")
    return {name: total / examples for name, total in totals.items()}
