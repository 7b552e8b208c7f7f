"""The files that explaining leaves: tensors, pictures, a page, and what can be read again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from altprop.experiment.explaining.results import RELEVANCE, Explanations
from altprop.experiment.explaining.table import HEADER, INPUTS_HEADER, input_row, row
from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.reports.page import render
from altprop.experiment.reports.picture import Picture, png
from altprop.experiment.reports.theme import DARK, LIGHT, Theme
from altprop.explain import heatmap

_INPUTS = 8
_ACROSS = 6
_PERCENTILE = 99.5
_CAPTION = (
    "Red speaks for the explained output, blue against it. Each picture has a scale of its own, which the strongest "
    "half per cent of its pixels may exceed."
)


def write_explanations(explanations: Explanations, folder: Path) -> None:
    """Write what came out of explaining.

    * ``relevance.pt``: the inputs, the explained outputs' numbers, and by rule the relevance, for ``torch.load``;
    * ``explanations.png`` and ``explanations-dark.png``, the rules side by side, and ``report.html``;
    * ``explanations.json``: all but the tensors, to be read again by :meth:`Explanations.load`. It comes last.

    Args:
        explanations: what to write.
        folder: where to write; it exists.
    """
    targets = torch.tensor([one.target for one in explanations.inputs])
    tensors = {"inputs": explanations.samples, "targets": targets, "relevance": explanations.relevance}
    torch.save(tensors, folder / RELEVANCE)
    drawn = picture(explanations)
    (folder / f"{drawn.name}.png").write_bytes(drawn.light)
    (folder / f"{drawn.name}-dark.png").write_bytes(drawn.dark)
    (folder / "report.html").write_text(_page(explanations, drawn), encoding="utf-8")
    (folder / RECORDS["explanation"]).write_text(explanations.model_dump_json(indent=2), encoding="utf-8")


def picture(explanations: Explanations) -> Picture:
    """Draw the explanations by all rules side by side, of the first eight inputs."""
    light, dark = (png(partial(_draw, explanations), theme) for theme in (LIGHT, DARK))
    assert light is not None and dark is not None  # a grid is never empty
    more = len(explanations.inputs) - _INPUTS
    caption = _CAPTION + (f" {more} more inputs are in {RELEVANCE}." if more > 0 else "")
    return Picture("explanations", "Explanations", caption, light, dark, narrow=True)


def _draw(explanations: Explanations, theme: Theme) -> Figure:
    relevance = {rule: _as_images(R[:_INPUTS]) for rule, R in explanations.relevance.items()}
    labels = [_clipped(one.caption) for one in explanations.inputs[:_INPUTS]]
    samples = _as_images(explanations.samples[:_INPUTS])
    return heatmap.grid(samples, relevance, labels=labels, across=_ACROSS, percentile=_PERCENTILE)


def _as_images(x: Tensor) -> Tensor:
    """Inputs that are no images are drawn as strips."""
    return x if x.dim() == 4 else x.reshape(len(x), 1, 1, -1)


def _clipped(caption: str, width: int = 26) -> str:
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in caption.split("\n"))


def _page(explanations: Explanations, drawn: Picture) -> str:
    names = [one.name for one in explanations.inputs]
    what = names[0] if len(names) == 1 else f"{len(names)} inputs"
    return render(
        "explanations.html",
        results=explanations,
        title=f"Why? {what}",
        subtitle=explanations.network,
        messages=list(explanations.notes),
        header=HEADER,
        rows=[row(explanations, outcome) for outcome in explanations.outcomes],
        inputs_header=INPUTS_HEADER,
        inputs=[input_row(one) for one in explanations.inputs],
        pictures=[drawn],
        facts={
            "network": explanations.network,
            "inputs": explanations.data,
            "relevance": f"torch.load({RELEVANCE!r})['relevance'], by rule, of shape "
            f"{tuple(explanations.samples.shape)}",
        },
        command=explanations.settings.command("explain"),
    )
