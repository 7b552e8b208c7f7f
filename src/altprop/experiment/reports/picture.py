"""One picture of a page: drawn once, as SVG, which dark pages show in colours of their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from altprop.experiment.reports.theme import DARK, STYLE


class Drawn(NamedTuple):
    """A figure, and what is seen in it.

    Attributes:
        figure: of matplotlib.
        alt: says it with numbers, to those who do not see it.
    """

    figure: Figure
    alt: str


@dataclass(frozen=True)
class Picture:
    """One picture of a page.

    Attributes:
        name: of its file, without ending.
        title: what it shows.
        caption: how to read it.
        alt: what is seen in it.
        svg: the picture.
        narrow: whether a page shows it in its own size, rather than as wide as the page.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: bytes
    narrow: bool = False


def picture(
    name: str, title: str, caption: str, draw: Callable[[], Drawn | None], *, narrow: bool = False
) -> Picture | None:
    """Draw a picture; None if there is nothing to show.

    Args:
        name: see :class:`Picture`.
        title: likewise.
        caption: likewise.
        draw: makes the figure, which then has our style.
        narrow: see :class:`Picture`.
    """
    with mpl.rc_context(STYLE), torch.no_grad():  # type: ignore[arg-type]  # it wants literals
        drawn = draw()
        return None if drawn is None else Picture(name, title, caption, drawn.alt, as_svg(drawn.figure), narrow)


def as_svg(figure: Figure) -> bytes:
    """A figure as SVG, with a transparent ground. On a dark page it takes the colours of ``DARK`` by itself."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    head, mark, rest = file.getvalue().partition(b"<defs>")
    return head + f"<style>{_DARK_RULES}</style>".encode() + mark + rest


# Matplotlib writes each colour into a style; other programs read the file as they would any.
_DARK_RULES = "@media (prefers-color-scheme: dark) {{ {} }}".format(
    " ".join(
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    )
)
