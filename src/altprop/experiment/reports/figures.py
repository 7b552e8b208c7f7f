"""The pictures of a page on a study, and of a page on runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from altprop.experiment.data.examples import Splits
from altprop.experiment.records.folder import plain_name
from altprop.experiment.records.study import Study
from altprop.experiment.reports.boundaries import draw_kept, kept_of, pictures_made
from altprop.experiment.reports.curves import alignment, draw_curves, draw_measured, learning_curves, weight_alignment
from altprop.experiment.reports.picture import Drawn, Picture, picture
from altprop.experiment.reports.portraits import boundaries, first_layer, predictions, reconstructions
from altprop.experiment.reports.records import Source
from altprop.experiment.reports.tables import Group

_NARROW = {"boundaries", "predictions"}

_PLANE = "The class that each network gives to each point of the plane, and the test data."
_MEASURED = "Mean over seeds, epoch by epoch; the bands are one standard deviation to either side."
_CURVES = f"{_MEASURED} Losses can be compared where the objective is the same."


def pictures(study: Study, splits: Splits) -> list[Picture]:
    """Draw all that there is to show of a study.

    Args:
        study: with its networks.
        splits: what the networks were trained on.
    """
    return _there(
        picture(name, title, caption, partial(draw, study, splits), narrow=name in _NARROW)
        for name, (title, caption, draw) in _PICTURES.items()
    )


def pictures_of(group: Group, sources: Sequence[Source], notes: list[str]) -> list[Picture]:
    """Draw all that there is to show of the runs on a data set.

    Args:
        group: its runs.
        sources: all runs.
        notes: is told what cannot be drawn.
    """
    end, of = plain_name(group.title), group.title
    drawn = [
        picture(f"curves-{end}", f"Learning curves: {of}", _CURVES, partial(draw_curves, group)),
        picture(f"measured-{end}", f"What was measured: {of}", _MEASURED, partial(draw_measured, group)),
    ]
    if not group.is_2d:
        return _there(drawn)
    kept = kept_of(group, sources, notes)
    of_kept = partial(draw_kept, kept)
    drawn.append(picture(f"boundaries-{end}", f"Decision boundaries: {of}", _PLANE, of_kept, narrow=True))
    return [*_there(drawn), *pictures_made(group, [one for one in sources if one.name not in kept])]


def _there(drawn: Iterable[Picture | None]) -> list[Picture]:
    return [one for one in drawn if one is not None]


_PICTURES: dict[str, tuple[str, str, Callable[[Study, Splits], Drawn | None]]] = {
    "curves": (
        "Learning curves",
        "Mean over seeds; the bands are one standard deviation to either side. Every rule starts from the same "
        "weights and sees the same batches. A rule that falls behind the control may run out of the picture.",
        lambda study, splits: learning_curves(study),
    ),
    "alignment": (
        "Alignment with backprop",
        "The angle between a rule's update and backprop's, at the same weights and on the same batch: 0° is the same "
        "direction, 90° an unrelated one.",
        lambda study, splits: alignment(study),
    ),
    "weight_alignment": (
        "Alignment of feedback weights",
        "The angle between the weights that carry the error back and those that carry the signal forward: 0° is "
        "backprop's choice, 90° what random weights start from.",
        lambda study, splits: weight_alignment(study),
    ),
    "boundaries": ("Decision boundaries", _PLANE, boundaries),
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
