"""Pictures of trained networks: what they make of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.networks.spiking import read_spikes
from altprop.experiment.reports.theme import Theme, lines
from altprop.experiment.results import Results


def boundaries(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    """The class that each network gives to each point of the plane."""
    networks = _networks(results)
    if not (data.is_2d and data.task == "classification" and networks):
        return None

    def classify(network: nn.Module, points: Tensor) -> np.ndarray:
        winners: np.ndarray = _outputs(network, points, data, results.objective).argmax(1)
        return winners

    classifiers = {rule: partial(classify, network) for rule, network in networks.items()}
    return draw_boundaries(classifiers, data.x_test.cpu().numpy(), data.y_test.cpu().numpy(), data.outputs, theme)


def draw_boundaries(
    classifiers: Mapping[str, Callable[[Tensor], np.ndarray]],
    points: np.ndarray,
    classes: np.ndarray,
    count: int,
    theme: Theme,
) -> Figure:
    """The class that each of some classifiers gives to each point of the plane, and the test data.

    Args:
        classifiers: by title what gives the classes of points, float32 of shape (points, 2).
        points: the test data, of shape (points, 2).
        classes: their classes, from 0.
        count: how many classes there are.
        theme: the colours.
    """
    reach = 1.1 * float(np.abs(points).max())
    axis = torch.linspace(-reach, reach, 240)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
    colors = ListedColormap([theme.series[n % len(theme.series)] for n in range(count)])
    look = {"cmap": colors, "vmin": -0.5, "vmax": count - 0.5}
    figure, panels = _panels(classifiers, width=2.6)
    for (title, classify), axes in zip(classifiers.items(), panels, strict=True):
        axes.imshow(
            classify(grid).reshape(240, 240), origin="lower", extent=(-reach, reach, -reach, reach), alpha=0.35, **look
        )
        axes.scatter(*points.T, c=classes, s=5, linewidths=0, **look)
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(visible=False)
    return figure


def predictions(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    """What each network predicts, against the targets."""
    networks = _networks(results)
    if data.task != "regression" or not networks:
        return None
    figure, panels = _panels(networks, width=2.9)
    look = lines(results, theme)
    for (rule, network), axes in zip(networks.items(), panels, strict=True):
        predicted, target = _outputs(network, data.x_test, data, results.objective), data.y_test.cpu().numpy()
        if data.inputs == 1:
            inputs = data.x_test.cpu().numpy().flatten()
            order = inputs.argsort()
            axes.plot(inputs[order], target[order], color=theme.faint, linewidth=5)
            axes.plot(inputs[order], predicted[order], color=look[rule]["color"])
            axes.set(title=rule, xlabel="input", ylabel="output" if axes is panels[0] else "")
        else:
            axes.scatter(
                target.flatten(), predicted.flatten(), s=2, color=look[rule]["color"], alpha=0.35, linewidths=0
            )
            axes.axline((0, 0), slope=1, color=theme.muted, linewidth=1)
            axes.set(title=rule, xlabel="target", ylabel="prediction" if axes is panels[0] else "")
    return figure


def reconstructions(results: Results, data: Dataset, theme: Theme, count: int = 14) -> Figure | None:
    """The first test images, and what each network makes of them."""
    networks = _networks(results)
    if data.task != "reconstruction" or not data.is_image or not networks:
        return None
    x = data.x_test[:count]
    rows = {"the image": x.cpu().numpy()} | {
        rule: _outputs(network, x, data, results.objective).reshape(x.shape) for rule, network in networks.items()
    }
    low, high = float(x.min()), float(x.max())
    limits = {label: [(low, high)] * len(x) for label in rows}
    return _rows({label: images.mean(1) for label, images in rows.items()}, limits, cmap="gray")


def first_layer(results: Results, data: Dataset, theme: Theme, units: int = 14) -> Figure | None:
    """The first weights of the units that moved the most."""
    networks = _networks(results)
    if not data.is_image or not networks:
        return None
    seed = next(iter(results.models))[1]
    initial = results.settings.network(results.data.shape, seed)
    rows = {"at the start": _maps(initial, data)} | {rule: _maps(net, data) for rule, net in networks.items()}
    moved = torch.stack([(maps - rows["at the start"]).flatten(1).norm(dim=1) for maps in rows.values()]).amax(0)
    chosen = moved.argsort(descending=True)[:units]
    pictures = {label: maps[chosen].numpy() for label, maps in rows.items()}
    limits = {label: [(-abs(p).max(), abs(p).max()) for p in row] for label, row in pictures.items()}
    return _rows(pictures, limits)


def _rows(
    rows: Mapping[str, np.ndarray], limits: Mapping[str, Sequence[tuple[float, float]]], cmap: str | None = None
) -> Figure:
    """Rows of small pictures, each row with its label."""
    figure = Figure(figsize=(9, 0.66 * len(rows)))
    grid = figure.subplots(len(rows), len(next(iter(rows.values()))), squeeze=False)
    for (label, pictures), row in zip(rows.items(), grid, strict=True):
        for axes, picture, (low, high) in zip(row, pictures, limits[label], strict=True):
            axes.imshow(picture, vmin=low, vmax=high, cmap=cmap)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _maps(network: nn.Module, data: Dataset) -> Tensor:
    """The weights of the first layer, a picture for each unit; channels are averaged."""
    # Of a vision transformer the first parameters are no weights of a layer, but tokens and places.
    weight = next(m.weight for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)).detach().cpu()
    return weight.reshape(len(weight), *data.input_shape).mean(1) if weight.dim() == 2 else weight.mean(1)


def _networks(results: Results) -> dict[str, nn.Module]:
    """A network of each rule: that of the first seed for which the run finished."""
    ended = {(run.rule, run.seed) for run in results.runs if run.status != "diverged"}
    networks: dict[str, nn.Module] = {}
    for (rule, seed), network in results.models.items():
        if (rule, seed) in ended:
            networks.setdefault(rule, network)
    return {rule: networks[rule] for rule in results.settings.rules if rule in networks}


def _outputs(network: nn.Module, x: Tensor, data: Dataset, objective: str) -> np.ndarray:
    # Not as a tensor: matplotlib reads tensors in a way that numpy 2 warns of.
    output = network.eval()(x.to(data.x_train.device)).cpu()
    # Spikes over time are read as classes.
    read: np.ndarray = (read_spikes(objective, output) if output.dim() == 3 else output).numpy()
    return read


def _panels(networks: Iterable[str], width: float) -> tuple[Figure, list[Any]]:
    """One panel for each rule, at most four in a row."""
    count = len(list(networks))
    columns = min(4, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, width * rows * 1.02))
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]
