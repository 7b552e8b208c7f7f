"""How the pictures of a report look: in a light and in a dark page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, product
from typing import Any

from altprop.experiment.registry import CONTROL, REFERENCE
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
_LIGHT_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#7a5195", "#3aa0c9", "#8c4a2f")
_DARK_SERIES = ("#56b4e9", "#ff8a4c", "#35c79a", "#e69cc5", "#e8b93c", "#b79ae0", "#8fd6f5", "#d09a7e")
LIGHT = Theme("#1f2430", "#dfe3ea", "#8a93a3", "#ffffff", _LIGHT_SERIES)
DARK = Theme("#e6e9ef", "#363c49", "#8f98a8", "#171a21", _DARK_SERIES)


def style(theme: Theme) -> dict[str, Any]:
    """What matplotlib is told of a theme."""
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


def lines(results: Results, theme: Theme) -> dict[str, dict[str, Any]]:
    """How the lines of each rule of an experiment look: see :func:`lines_of`."""
    return lines_of(results.settings.rules, theme)


def lines_of(rules: Iterable[str], theme: Theme) -> dict[str, dict[str, Any]]:
    """How the lines of each rule look: backprop and the control are neutral, the others have colours."""
    looks, drawn = cycle(product(("-", "-.", ":"), theme.series)), {}
    for rule in rules:
        if rule == REFERENCE:
            look = {"color": theme.text}
        elif rule == CONTROL:
            look = {"color": theme.muted, "linestyle": "--"}
        else:
            line, color = next(looks)
            look = {"color": color, "linestyle": line}
        drawn[rule] = {"label": rule, **look}
    return drawn
