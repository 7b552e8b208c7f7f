"""The pictures of a report, each in a light and a dark version."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from altprop.experiment.curves import alignment, learning_curves, weight_alignment
from altprop.experiment.data.dataset import Dataset
from altprop.experiment.reports.picture import Picture, png
from altprop.experiment.reports.portraits import boundaries, first_layer, predictions, reconstructions
from altprop.experiment.reports.theme import DARK, LIGHT, Theme
from altprop.experiment.results import Results

_NARROW = {"boundaries", "predictions"}

Draw = Callable[[Results, Dataset, Theme], Figure | None]


def pictures(results: Results, data: Dataset) -> list[Picture]:
    """Draw all that there is to show.

    Args:
        results: of an experiment, with its networks.
        data: what the networks were trained on.
    """
    drawn = []
    for name, (title, caption, draw) in _PICTURES.items():
        light, dark = (png(partial(draw, results, data), theme) for theme in (LIGHT, DARK))
        if light and dark:
            words = caption.format(metric=results.metric)
            drawn.append(Picture(name, title, words, light, dark, narrow=name in _NARROW))
    return drawn


_PICTURES: dict[str, tuple[str, str, Draw]] = {
    "curves": (
        "Learning curves",
        "Mean over seeds; the bands are one standard deviation to either side. Every rule starts from the same "
        "weights and sees the same batches. A rule that falls behind the control may run out of the picture.",
        learning_curves,
    ),
    "alignment": (
        "Alignment with backprop",
        "The angle between a rule's update and backprop's, at the same weights and on the same batch: 0° is the same "
        "direction, 90° an unrelated one.",
        alignment,
    ),
    "weight_alignment": (
        "Alignment of feedback weights",
        "The angle between the weights that carry the error back and those that carry the signal forward: 0° is "
        "backprop's choice, 90° what random weights start from.",
        weight_alignment,
    ),
    "boundaries": (
        "Decision boundaries",
        "The class that each network gives to each point of the plane, and the test data.",
        boundaries,
    ),
    "predictions": ("Predictions", "On the test data, in standardised units.", predictions),
    "reconstructions": (
        "Reconstructions",
        "The first images of the test data, and what each network makes of them.",
        reconstructions,
    ),
    "weights": (
        "First-layer weights",
        "The same units under every rule, those that moved the most; red is positive, blue negative, each picture on a "
        "scale of its own.",
        first_layer,
    ),
}
