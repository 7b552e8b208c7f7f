"""The pictures of a report, each in a light and a dark version."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import fmean, stdev
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from altprop.experiment.dataset import Dataset
from altprop.experiment.models import build_model
from altprop.experiment.registry import CONTROL, REFERENCE, base_name
from altprop.experiment.results import Results


@dataclass(frozen=True)
class Theme:
    """The colours of a figure.

    Attributes:
        text: of text, axes and backprop's lines.
        faint: of grid lines and borders.
        muted: of the control's lines.
        background: behind it all.
        series: of the other rules, and of classes.
    """

    text: str
    faint: str
    muted: str
    background: str
    series: tuple[str, ...]


# After Okabe and Ito, whose colours people with any kind of colour vision can tell apart.
LIGHT = Theme("#1f2430", "#dfe3ea", "#8a93a3", "#ffffff", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00"))
DARK = Theme("#e6e9ef", "#363c49", "#8f98a8", "#171a21", ("#56b4e9", "#ff8a4c", "#35c79a", "#e69cc5", "#e8b93c"))


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes:
        name: of its file, without ending.
        title: what it shows.
        caption: how to read it.
        light: the PNG on a light background.
        dark: the PNG on a dark background.
    """

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes


Draw = Callable[[Results, Dataset, Theme], Figure | None]


def pictures(results: Results, data: Dataset) -> list[Picture]:
    """Draw all that there is to show.

    Args:
        results: of an experiment, with its networks.
        data: what the networks were trained on.
    """
    drawn = []
    for name, (title, caption, draw) in _PICTURES.items():
        light, dark = (_png(draw, results, data, theme) for theme in (LIGHT, DARK))
        if light and dark:
            drawn.append(Picture(name, title, caption.format(metric=results.metric), light, dark))
    return drawn


def _png(draw: Draw, results: Results, data: Dataset, theme: Theme) -> bytes | None:
    with mpl.rc_context(_style(theme)), torch.no_grad():  # type: ignore[arg-type]  # it wants literals
        figure = draw(results, data, theme)
        if figure is None:
            return None
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()


def _style(theme: Theme) -> dict[str, Any]:
    return {
        "figure.facecolor": theme.background,
        "figure.constrained_layout.use": True,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.text,
        "axes.titlecolor": theme.text,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.labelsize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.faint,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.8,
        "text.color": theme.text,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "image.cmap": "RdBu_r",
    }


def _curves(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    losses = [epoch.train_loss for run in results.runs for epoch in run.epochs]
    if not losses:
        return None
    if not any(run.epochs for run in results.runs):
        return None
    figure = Figure(figsize=(9, 3.5))
    right, left = figure.subplots(1, 2)[::-1]
    for rule, line in _lines(results, theme).items():
        _band(left, [[epoch.score for epoch in run.epochs] for run in results.runs_of(rule)], line)
        _band(right, [[epoch.train_loss for epoch in run.epochs] for run in results.runs_of(rule)], line)
    left.set(title=f"Test {results.metric}", xlabel="epoch")
    left.set_ylim(**_limits(results))
    right.set(title=f"Training loss ({results.objective})", xlabel="epoch")
    if min(losses) > 0 and max(losses) > 10 * min(losses):
        right.set_yscale("log")
    left.legend(loc="lower right")
    return figure


def _limits(results: Results) -> dict[str, float]:
    """Limits that show the differences: the first few epochs, where scores are low, may be cut off."""
    late = [run.epochs[len(run.epochs) // 8 :] for run in results.runs]
    scores = [epoch.score for epochs in late for epoch in epochs]
    if not scores:
        return {}
    low, high = max(min(scores), -0.2), max(*scores, -0.1)
    return {"bottom": low - 0.08 * (high - low) - 0.002, "top": min(1.0, high) + 0.08 * (high - low) + 0.002}


def _band(axes: Any, runs: Sequence[Sequence[float | None]], line: dict[str, Any]) -> None:
    """Draw the mean over runs, and a band of one standard deviation to either side."""
    epochs = range(1, 1 + max(map(len, runs), default=0))
    values = [[v for run in runs[:] if len(run) >= n and (v := run[n - 1]) is not None] for n in epochs]
    there = [(n, fmean(v), stdev(v) if len(v) > 1 else 0.0) for n, v in zip(epochs, values, strict=True) if v]
    if not there:
        return
    x, mean, spread = np.array(there).T
    axes.plot(x, mean, marker="o" if len(x) == 1 else None, **line)
    axes.fill_between(x, mean - spread, mean + spread, color=line["color"], alpha=0.18, linewidth=0)


def _lines(results: Results, theme: Theme) -> dict[str, dict[str, Any]]:
    """How the lines of each rule look: backprop and the control are neutral, the others have colours."""
    colors, lines = cycle(theme.series), {}
    for rule in results.settings.rules:
        if rule == REFERENCE:
            look = {"color": theme.text}
        elif rule == CONTROL:
            look = {"color": theme.muted, "linestyle": "--"}
        else:
            look = {"color": next(colors)}
        lines[rule] = {"label": rule, **look}
    return lines


def _alignment(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    lines = {rule: line for rule, line in _lines(results, theme).items() if base_name(rule) != REFERENCE}
    summaries = [summary for summary in results.summaries if summary.rule in lines and summary.layer_cosines]
    if not any(summary.cosine is not None for summary in summaries):
        return None
    figure = Figure(figsize=(9, 3.3))
    left, right = figure.subplots(1, 2)
    for rule, line in lines.items():
        _band(left, [[epoch.cosine for epoch in run.epochs] for run in results.runs_of(rule)], line)
    left.set(title="All layers, while training", xlabel="epoch", ylabel="cosine with backprop")
    left.set_ylim(min(-0.05, left.get_ylim()[0]), 1.05)
    layers = list(summaries[0].layer_cosines)
    width = 0.8 / len(summaries)
    for number, summary in enumerate(summaries):
        heights = [summary.layer_cosines[layer] or 0.0 for layer in layers]
        places = np.arange(len(layers)) + (number - (len(summaries) - 1) / 2) * width
        right.bar(places, heights, width * 0.92, color=lines[summary.rule]["color"], label=summary.rule)
    right.set_xticks(range(len(layers)), layers, rotation=0 if len(layers) < 6 else 35)
    right.set(title="Each layer, mean over training")
    right.set_ylim(left.get_ylim())
    right.grid(axis="x", visible=False)
    left.legend(loc="best")
    return figure


def _boundaries(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    networks = _networks(results)
    if not (data.is_2d and data.task == "classification" and networks):
        return None
    points, classes = data.x_test.cpu().numpy(), data.y_test.cpu().numpy()
    reach = 1.1 * float(np.abs(points).max())
    axis = torch.linspace(-reach, reach, 240)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
    colors = ListedColormap([theme.series[n % len(theme.series)] for n in range(data.outputs)])
    look = {"cmap": colors, "vmin": -0.5, "vmax": data.outputs - 0.5}
    figure, panels = _panels(networks, width=2.6)
    for (rule, network), axes in zip(networks.items(), panels, strict=True):
        winners = _outputs(network, grid, data).argmax(1).reshape(240, 240)
        axes.imshow(winners, origin="lower", extent=(-reach, reach, -reach, reach), alpha=0.35, **look)
        axes.scatter(*points.T, c=classes, s=5, linewidths=0, **look)
        axes.set(title=rule, xticks=[], yticks=[])
        axes.grid(visible=False)
    return figure


def _predictions(results: Results, data: Dataset, theme: Theme) -> Figure | None:
    networks = _networks(results)
    if data.task != "regression" or not networks:
        return None
    figure, panels = _panels(networks, width=2.9)
    lines = _lines(results, theme)
    for (rule, network), axes in zip(networks.items(), panels, strict=True):
        predicted, target = _outputs(network, data.x_test, data), data.y_test.cpu().numpy()
        if data.inputs == 1:
            inputs = data.x_test.cpu().numpy().flatten()
            order = inputs.argsort()
            axes.plot(inputs[order], target[order], color=theme.faint, linewidth=5)
            axes.plot(inputs[order], predicted[order], color=lines[rule]["color"])
            axes.set(title=rule, xlabel="input", ylabel="output" if axes is panels[0] else "")
        else:
            axes.scatter(
                target.flatten(), predicted.flatten(), s=2, color=lines[rule]["color"], alpha=0.35, linewidths=0
            )
            axes.axline((0, 0), slope=1, color=theme.muted, linewidth=1)
            axes.set(title=rule, xlabel="target", ylabel="prediction" if axes is panels[0] else "")
    return figure


def _first_layer(results: Results, data: Dataset, theme: Theme, units: int = 14) -> Figure | None:
    networks = _networks(results)
    if not data.is_image or not networks:
        return None
    settings = results.settings
    seed = next(iter(results.models))[1]
    initial = build_model(
        settings.model, results.data.shape, activation=settings.activation, norm=settings.norm, seed=seed
    )
    rows = {"at the start": _maps(initial, data)} | {rule: _maps(net, data) for rule, net in networks.items()}
    moved = torch.stack([(maps - rows["at the start"]).flatten(1).norm(dim=1) for maps in rows.values()]).amax(0)
    chosen = moved.argsort(descending=True)[:units]
    figure = Figure(figsize=(9, 0.66 * len(rows)))
    grid = figure.subplots(len(rows), len(chosen), squeeze=False)
    for (label, maps), row in zip(rows.items(), grid, strict=True):
        for axes, picture in zip(row, maps[chosen], strict=True):
            axes.imshow(picture.numpy(), vmin=-float(picture.abs().max()), vmax=float(picture.abs().max()))
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _maps(network: nn.Module, data: Dataset) -> Tensor:
    """The weights of the first layer, a picture for each unit; channels are averaged."""
    weight = next(parameter for parameter in network.parameters() if parameter.dim() > 1).detach().cpu()
    return weight.reshape(len(weight), *data.input_shape).mean(1) if weight.dim() == 2 else weight.mean(1)


def _networks(results: Results) -> dict[str, nn.Module]:
    """A network of each rule: that of the first seed for which the run finished."""
    ended = {(run.rule, run.seed) for run in results.runs if run.status != "diverged"}
    networks: dict[str, nn.Module] = {}
    for (rule, seed), network in results.models.items():
        if (rule, seed) in ended:
            networks.setdefault(rule, network)
    return {rule: networks[rule] for rule in results.settings.rules if rule in networks}


def _outputs(network: nn.Module, x: Tensor, data: Dataset) -> np.ndarray:
    # Not as a tensor: matplotlib reads tensors in a way that numpy 2 warns of.
    output: np.ndarray = network.eval()(x.to(data.x_train.device)).cpu().numpy()
    return output


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


_PICTURES: dict[str, tuple[str, str, Draw]] = {
    "curves": (
        "Learning curves",
        "Mean over seeds; the bands are one standard deviation to either side. Every rule starts from the same "
        "weights and sees the same batches.",
        _curves,
    ),
    "alignment": (
        "Alignment with backprop",
        "The cosine of the angle between a rule's update and backprop's, at the same weights and on the same batch: 1 "
        "is the same direction, 0 an unrelated one.",
        _alignment,
    ),
    "boundaries": (
        "Decision boundaries",
        "The class that each network gives to each point of the plane, and the test data.",
        _boundaries,
    ),
    "predictions": ("Predictions", "On the test data, in standardised units.", _predictions),
    "weights": (
        "First-layer weights",
        "The same units under every rule, those that moved the most; red is positive, blue negative, each picture on a "
        "scale of its own.",
        _first_layer,
    ),
}
