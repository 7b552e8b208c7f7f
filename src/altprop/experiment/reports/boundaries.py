"""Decision boundaries of the networks that runs kept; of runs that kept none, the pictures that they made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from altprop.experiment.data.embedded import DATA
from altprop.experiment.errors import InputError
from altprop.experiment.records.folder import plain_name
from altprop.experiment.reports.picture import Drawn, Picture
from altprop.experiment.reports.portraits import draw_boundaries
from altprop.experiment.reports.records import Source
from altprop.experiment.reports.tables import Group
from altprop.experiment.studies.reading import Kept, kept_networks

_CAPTION = "As the run itself drew them: it keeps no networks."
_ALT = "The plane in the colours of the classes that each network gives its points, as its run drew it."


def kept_of(group: Group, sources: Sequence[Source], notes: list[str]) -> dict[str, Kept]:
    """The networks of a data set by the name of their run, of the epochs whose scores count.

    Args:
        group: the runs on data in the plane.
        sources: all runs.
        notes: is told which networks cannot be read.
    """
    kept: dict[str, Kept] = {}
    for source in _of(group, sources):
        networks = [network for entry in source.entries for network in entry.networks if network.counts]
        if not (source.has_weights and networks and group.data in DATA):
            continue
        validated = any(one.figures and one.figures.validation is not None for one in networks)
        try:
            kept[source.name] = kept_networks(source.folder, which="best" if validated else "final")
        except InputError as error:
            notes.append(f"{source.name}: its decision boundaries are not drawn. {error}")
    return kept


def draw_kept(kept: Mapping[str, Kept]) -> Drawn | None:
    """Draw a network of each rule of each run: that of its first seed.

    Args:
        kept: by run, trained on the same data.
    """
    if not kept:
        return None
    classifiers: dict[str, Callable[[Tensor], np.ndarray]] = {}
    for run, one in kept.items():
        for (rule, _), network in one.networks.items():
            title = rule if len(kept) == 1 else f"{rule}, {run}"
            classifiers.setdefault(title, partial(_classes, network, one.read))
    first = next(iter(kept.values())).data
    points, classes = first.test.batch(torch.arange(len(first.test)), 0)
    return draw_boundaries(classifiers, points.numpy(), classes.numpy(), first.outputs)


def pictures_made(group: Group, sources: Iterable[Source]) -> list[Picture]:
    """The pictures that runs drew of their own networks.

    Args:
        group: the runs on data in the plane.
        sources: of which to take them.
    """
    pictures = []
    for source in _of(group, sources):
        file = source.folder / "boundaries.svg"
        image = file.read_bytes() if file.is_file() else b""
        if image.startswith(b"<?xml"):
            name, title = plain_name(f"boundaries-run-{source.name}"), f"Decision boundaries: {source.name}"
            pictures.append(Picture(name, title, _CAPTION, _ALT, image, narrow=True))
    return pictures


def _of(group: Group, sources: Iterable[Source]) -> list[Source]:
    runs = {entry.run for entry in group.entries}
    return [source for source in sources if source.name in runs]


def _classes(network: nn.Module, read: Callable[[Tensor], Tensor], points: Tensor) -> np.ndarray:
    with torch.no_grad():
        classes: np.ndarray = read(network(points)).argmax(1).numpy()
    return classes
