"""How the pictures of all pages look, and what tells rules apart in them: colour, dash, marker and hatch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

from altprop.experiment.registry import CONTROL, REFERENCE

TEXT = "#1f2430"
MUTED = "#667085"
FAINT = "#dfe3ea"

# After Okabe and Ito, whose colours people with any kind of colour vision can tell apart.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#7a5195", "#3aa0c9", "#8c4a2f")

DARK = {
    TEXT: "#e6e9ef",
    MUTED: "#98a2b3",
    FAINT: "#363c49",
    **dict(
        zip(
            SERIES,
            ("#56b4e9", "#ff8a4c", "#35c79a", "#e69cc5", "#e8b93c", "#b79ae0", "#8fd6f5", "#d09a7e"),
            strict=True,
        )
    ),
}
"""What a colour becomes on a dark page."""

STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": TEXT,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "text.color": TEXT,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 3,
    "image.cmap": "RdBu_r",
    "svg.hashsalt": "altprop",  # the same picture is the same file
}
"""What matplotlib is told."""

_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_HATCHES = ("", "///", "xxx", "---", "\\\\\\", "+++", "|||")
_KINDS: tuple[Sequence[Any], ...] = (SERIES, _DASHES, _MARKERS, _HATCHES)


@dataclass(frozen=True)
class Look:
    """How the lines and bars of a rule look.

    Attributes:
        color: of both.
        dash: of the line.
        marker: on the line; empty for none.
        hatch: of the bar.
    """

    color: str
    dash: Any
    marker: str
    hatch: str

    @property
    def line(self) -> dict[str, Any]:
        """What matplotlib's ``plot`` is told."""
        return {"color": self.color, "linestyle": self.dash, "marker": self.marker or None}


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """How each rule looks: backprop and the control are neutral and have no markers.

    The others differ in marker and dash, and not by colour alone, as long as there are no more than
    :data:`DIFFERENT` of them.
    """
    looks: dict[str, Look] = {}
    others = 0
    for label in labels:
        if label == REFERENCE:
            looks[label] = Look(TEXT, "-", "", "")
        elif label == CONTROL:
            looks[label] = Look(MUTED, "--", "", "////")
        else:
            color, dash, marker, hatch = (kind[others % len(kind)] for kind in _KINDS)
            looks[label] = Look(color, dash, marker, hatch)
            others += 1
    return looks


DIFFERENT = lcm(len(_DASHES), len(_MARKERS))
