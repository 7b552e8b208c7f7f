"""Pictures of trained networks: what they make of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from altprop.experiment.data.examples import Splits, whole
from altprop.experiment.metrics import score
from altprop.experiment.networks.spiking import read_spikes
from altprop.experiment.records.study import Study
from altprop.experiment.reports.picture import Drawn
from altprop.experiment.reports.theme import FAINT, MUTED, SERIES, looks_of
from altprop.experiment.training.job import Job


def boundaries(study: Study, data: Splits) -> Drawn | None:
    """The class that each network gives to each point of the plane."""
    networks = study.models()
    if not (data.is_2d and data.task == "classification" and networks):
        return None

    def classify(network: nn.Module, points: Tensor) -> np.ndarray:
        winners: np.ndarray = _outputs(network, points, study.objective).argmax(1)
        return winners

    classifiers = {rule: partial(classify, network) for rule, network in networks.items()}
    x, y = whole(data.test)
    return draw_boundaries(classifiers, x.numpy(), y.numpy(), data.outputs)


def draw_boundaries(
    classifiers: Mapping[str, Callable[[Tensor], np.ndarray]],
    points: np.ndarray,
    classes: np.ndarray,
    count: int,
) -> Drawn:
    """The class that each of some classifiers gives to each point of the plane, and the test data.

    Args:
        classifiers: by title what gives the classes of points, float32 of shape (points, 2).
        points: the test data, of shape (points, 2).
        classes: their classes, from 0.
        count: how many classes there are.
    """
    reach = 1.1 * float(np.abs(points).max())
    axis = torch.linspace(-reach, reach, 240)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
    look = {"cmap": ListedColormap([SERIES[n % len(SERIES)] for n in range(count)]), "vmin": -0.5, "vmax": count - 0.5}
    figure, panels = _panels(classifiers, width=2.6)
    right = {}
    for (title, classify), axes in zip(classifiers.items(), panels, strict=True):
        won = classify(grid).reshape(240, 240)
        axes.imshow(
            won, origin="lower", extent=(-reach, reach, -reach, reach), alpha=0.35, interpolation="nearest", **look
        )
        # Thousands of points are fewer bytes as an image.
        axes.scatter(*points.T, c=classes, s=5, linewidths=0, rasterized=True, **look)
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(visible=False)
        right[title] = float((classify(torch.from_numpy(points)) == classes).mean())
    return Drawn(
        figure, f"The plane in the colours of {count} classes. Right on the test data: {_listed(right, '.1%')}."
    )


def _listed(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def predictions(study: Study, data: Splits) -> Drawn | None:
    """What each network predicts, against the targets."""
    networks = study.models()
    if data.task != "regression" or not networks:
        return None
    figure, panels = _panels(networks, width=2.9)
    looks, (x, y) = looks_of(study.rules), whole(data.test)
    target, reached = y.numpy(), {}
    for (rule, network), axes in zip(networks.items(), panels, strict=True):
        predicted, color = _outputs(network, x, study.objective), looks[rule].color
        if data.inputs == 1:
            inputs = x.numpy().flatten()
            order = inputs.argsort()
            axes.plot(inputs[order], target[order], color=FAINT, linewidth=5)
            axes.plot(inputs[order], predicted[order], color=color)
            axes.set(title=rule, xlabel="input", ylabel="output" if axes is panels[0] else "")
        else:
            axes.scatter(
                target.flatten(), predicted.flatten(), s=2, color=color, alpha=0.35, linewidths=0, rasterized=True
            )
            axes.axline((0, 0), slope=1, color=MUTED, linewidth=1)
            axes.set(title=rule, xlabel="target", ylabel="prediction" if axes is panels[0] else "")
        reached[rule] = score("regression", torch.from_numpy(predicted), y)
    return Drawn(figure, f"Predictions of the test targets. R² of the networks shown: {_listed(reached, '.3f')}.")


def reconstructions(study: Study, data: Splits, count: int = 14) -> Drawn | None:
    """The first test images, and what each network makes of them."""
    networks = study.models()
    if data.task != "reconstruction" or not data.is_image or not networks:
        return None
    x, _ = whole(data.test, count)
    images = x.numpy()
    made = {rule: _outputs(network, x, study.objective).reshape(x.shape) for rule, network in networks.items()}
    low, high = float(x.min()), float(x.max())
    rows = {
        label: (shown.mean(1).clip(low, high) - low) / ((high - low) or 1.0)
        for label, shown in {"the image": images, **made}.items()
    }
    errors = {rule: float(np.square(shown - images).mean()) for rule, shown in made.items()}
    alt = f"{len(x)} images, and below them what each network makes of them. Squared error: {_listed(errors, '.3g')}."
    return Drawn(_rows(rows, "gray"), alt)


def first_layer(study: Study, data: Splits, units: int = 14) -> Drawn | None:
    """The first weights of the units that moved the most."""
    networks = study.models()
    if not data.is_image or not networks:
        return None
    seed = next(cell.seed for cell in study.cells if cell.model in networks.values())
    initial = Job(study.recipe, data, seed).model()
    rows = {"at the start": _maps(initial, data)} | {rule: _maps(net, data) for rule, net in networks.items()}
    moved = {label: (maps - rows["at the start"]).flatten(1).norm(dim=1) for label, maps in rows.items()}
    chosen = torch.stack(list(moved.values())).amax(0).argsort(descending=True)[:units]
    pictures = {label: _around_half(maps[chosen].numpy()) for label, maps in rows.items()}
    lengths = {rule: float(moved[rule][chosen].mean()) for rule in networks}
    alt = f"The weights of {len(chosen)} units. They moved from the start, on average by: {_listed(lengths, '.2g')}."
    return Drawn(_rows(pictures, "RdBu_r"), alt)


def _around_half(maps: np.ndarray) -> np.ndarray:
    """Maps from -strongest to strongest, each by its own, as 0 to 1."""
    strongest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return 0.5 + 0.5 * maps / np.where(strongest > 0, strongest, 1.0)


def _rows(rows: Mapping[str, np.ndarray], cmap: str) -> Figure:
    """Rows of small pictures with values from 0 to 1, each row with its label.

    They are one image, for hundreds of axes take seconds.
    """
    count, height, width = next(iter(rows.values())).shape
    gap = max(1, height // 12)
    sheet = np.zeros((len(rows) * (height + gap) - gap, count * (width + gap) - gap, 4))
    for number, pictures in enumerate(rows.values()):
        for place, one in enumerate(pictures):
            top, left = number * (height + gap), place * (width + gap)
            sheet[top : top + height, left : left + width] = mpl.colormaps[cmap](one)
    figure = Figure(layout="compressed", figsize=(9, 0.3 + 7.6 * sheet.shape[0] / sheet.shape[1]))
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set(xticks=[])
    axes.set_yticks([(height - 1) / 2 + number * (height + gap) for number in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def _maps(network: nn.Module, data: Splits) -> Tensor:
    """The weights of the first layer, a picture for each unit; channels are averaged."""
    # Of a vision transformer the first parameters are no weights of a layer, but tokens and places.
    weight = next(m.weight for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)).detach().cpu()
    return weight.reshape(len(weight), *data.input_shape).mean(1) if weight.dim() == 2 else weight.mean(1)


def _outputs(network: nn.Module, x: Tensor, objective: str) -> np.ndarray:
    # Not as a tensor: matplotlib reads tensors in a way that numpy 2 warns of.
    output = network.eval()(x.to(next(network.parameters()).dtype)).float()
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
