"""The page of the demo: all of it, in one file that needs no other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from altprop.experiment.demo.results import RULES, STEPS, Demo
from altprop.experiment.demo.seen import headline
from altprop.experiment.explaining.output import picture
from altprop.experiment.explaining.table import INPUTS_HEADER, input_row
from altprop.experiment.records.study import Study
from altprop.experiment.reports.curves import learning_curves
from altprop.experiment.reports.page import render
from altprop.experiment.reports.picture import Picture
from altprop.experiment.reports.picture import picture as drawn_by
from altprop.experiment.reports.study_table import CONTROL_NOTE, OVER_CONTROL, header, row, verdict_of

_TITLES = {
    RULES: "One network by every rule",
    STEPS: "What backprop cannot: a network of steps",
}


def write_page(demo: Demo, file: Path) -> None:
    """Write the page.

    Args:
        demo: what to show.
        file: where to.
    """
    studies = {RULES: demo.rules, STEPS: demo.steps}
    drawn = [one for part, study in studies.items() if (one := _curves(part, study))]
    explained = picture(demo.explanations)
    first = "the first is misread" if demo.misread else "none is misread"
    title = f"Why? Digits, and the pixels that spoke for what the network read: {first}"
    page = render(
        "demo.html",
        results=demo.rules,
        title="Learning without backprop",
        subtitle="Every rule on one network, and what the trained network looks at",
        sentences=headline(demo),
        tables={part: _table(study) for part, study in studies.items()},
        notes=dict.fromkeys(studies, f"{OVER_CONTROL} {CONTROL_NOTE}"),
        inputs_header=INPUTS_HEADER,
        inputs=[input_row(one) for one in demo.explanations.inputs],
        pictures=[*drawn, replace(explained, title=title)],
        messages=demo.messages,
        facts=_facts(demo),
        command=demo.settings.command("demo"),
    )
    file.write_text(page, encoding="utf-8")


def _curves(part: str, study: Study) -> Picture | None:
    caption = "Mean over seeds; the bands are one standard deviation to either side."
    return drawn_by(part, _TITLES[part], caption, partial(learning_curves, study))


def _table(study: Study) -> tuple[list[str], list[tuple[str, list[str]]]]:
    return header(study), [(verdict_of(summary), row(study, summary)) for summary in study.summaries]


def _facts(demo: Demo) -> dict[str, Any]:
    data = demo.rules.data
    shape = "×".join(map(str, data.input_shape))
    return {
        "data": f"{data.name}: {data.train:,} + {data.test:,} samples of {shape}",
        _TITLES[RULES]: demo.rules.command,
        _TITLES[STEPS]: demo.steps.command,
        "explanations": demo.explanations.settings.command("explain"),
    }
