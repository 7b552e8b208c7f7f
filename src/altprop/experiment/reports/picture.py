"""One picture of a report, in a light and a dark version."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from altprop.experiment.reports.theme import Theme, style


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes:
        name: of its file, without ending.
        title: what it shows.
        caption: how to read it.
        light: the PNG on a light background.
        dark: the PNG on a dark background.
        narrow: whether a page shows it in its own size, rather than as wide as the page.
    """

    name: str
    title: str
    caption: str
    light: bytes
    dark: bytes
    narrow: bool = False


def png(draw: Callable[[Theme], Figure | None], theme: Theme) -> bytes | None:
    """Draw a figure in the colours of a theme.

    Args:
        draw: makes the figure; None if there is nothing to show.
        theme: the colours.

    Returns:
        The PNG; None if there is nothing to show.
    """
    with mpl.rc_context(style(theme)), torch.no_grad():  # type: ignore[arg-type]  # it wants literals
        figure = draw(theme)
        if figure is None:
            return None
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()
