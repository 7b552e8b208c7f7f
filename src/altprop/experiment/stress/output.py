"""The files, the table and the page of networks under stress."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.reports.csv import write_csv
from altprop.experiment.stress.results import Curve, StressResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from altprop.experiment.reports.theme import Theme

STRESS = RECORDS["pruning"]

_SHOWN = 5  # levels in a terminal
_STYLES = {"yes": "green", "no": "red"}


@dataclass(frozen=True)
class Words:
    """What a kind of stress is called.

    Attributes:
        title: of the page.
        subtitle: of the page.
        kind: heads the column of the kinds.
        level: the axis of the levels.
        unit: how a level is written, as ``"{:.0%}"``.
        finer: how a level between two is written.
        picture: the title of the picture.
        caption: below it.
        withstands: heads the column of what is withstood.
        note: below the table: how that is meant.
        facts: what was done, in a few words each.
        command: what repeats it.
    """

    title: str
    subtitle: str
    kind: str
    level: str
    unit: str
    finer: str
    picture: str
    caption: str
    withstands: str
    note: str
    facts: dict[str, str]
    command: str


def write_stress(results: StressResults, words: Words, folder: Path) -> None:
    """Write what came out.

    * ``results.csv``: a line for each network under each stress; ``curves.csv``: for each rule at each level;
    * ``curves.png`` and ``curves-dark.png``; ``report.html``, a page that needs no other file;
    * ``stress.json``: all of it, to be read again by :meth:`StressResults.load`. It comes last.

    Args:
        results: what to write.
        words: what it is called.
        folder: where to write; it exists.
    """
    from altprop.experiment.reports.picture import Picture, png  # noqa: PLC0415  (matplotlib is slow to import)
    from altprop.experiment.reports.theme import DARK, LIGHT  # noqa: PLC0415

    write_csv(folder / "results.csv", [point.model_dump() for point in results.points])
    write_csv(folder / "curves.csv", _rows(results))
    light, dark = (png(partial(_draw, results, words), theme) for theme in (LIGHT, DARK))
    assert light is not None and dark is not None  # there is a level at least
    (folder / "curves.png").write_bytes(light)
    (folder / "curves-dark.png").write_bytes(dark)
    picture = Picture("curves", words.picture, words.caption, light, dark)
    (folder / "report.html").write_text(_page(results, words, picture), encoding="utf-8")
    (folder / STRESS).write_text(results.model_dump_json(indent=2), encoding="utf-8")


def header(results: StressResults, words: Words) -> list[str]:
    """The heads of the columns."""
    levels = results.curves[0].levels
    return [words.kind, "rule", *map(words.unit.format, levels), words.withstands, "more than backprop"]


def rows(results: StressResults, words: Words) -> list[list[str]]:
    """The cells of each kind and rule, in the order of :func:`header`."""
    return [
        [
            curve.kind,
            curve.rule,
            *(spread.text() for spread in curve.scores),
            curve.withstands.text(words.finer),
            _lead(words, curve),
        ]
        for curve in results.curves
    ]


def terminal_tables(results: StressResults, words: Words) -> list[Table]:
    """A table for each kind of stress, for a terminal: means alone, at some of the levels, for it is narrow."""
    tables = [_terminal_table(results, words, kind) for kind in results.kinds]
    tables[-1].caption = words.note
    return tables


def _terminal_table(results: StressResults, words: Words, kind: str) -> Table:
    from rich.table import Table  # noqa: PLC0415

    levels = results.curves[0].levels
    shown = sorted({round(n * (len(levels) - 1) / (_SHOWN - 1)) for n in range(_SHOWN)})
    table = Table(title=f"{results.data.name} · {results.network} · test {results.metric} · {words.kind} {kind}")
    heads = ["rule", *(words.unit.format(levels[number]) for number in shown), words.withstands, "more than backprop"]
    for number, name in enumerate(heads):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for curve in results.curves_of(kind):
        means = [f"{curve.scores[number].mean:.3f}" for number in shown]
        lead, style = _lead(words, curve), _STYLES.get(verdict_of(curve))
        withstood = curve.withstands.text(words.finer)
        table.add_row(curve.rule, *means, withstood, f"[{style}]{lead}[/]" if style else lead)
    return table


def verdict_of(curve: Curve) -> str:
    """Whether the networks of a rule withstand more than backprop's: yes, no, or nothing if that cannot be told."""
    return curve.lead.verdict or "" if curve.lead else ""


def _lead(words: Words, curve: Curve) -> str:
    return curve.lead.text(words.finer) if curve.lead else "–"


def _rows(results: StressResults) -> list[dict[str, Any]]:
    return [
        {
            "kind": curve.kind,
            "rule": curve.rule,
            "level": level,
            "mean": spread.mean,
            "deviation": spread.deviation,
            "seeds": curve.seeds,
        }
        for curve in results.curves
        for level, spread in zip(curve.levels, curve.scores, strict=True)
    ]


def _draw(results: StressResults, words: Words, theme: Theme) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    from altprop.experiment.reports.theme import lines_of  # noqa: PLC0415

    kinds = results.kinds
    figure = Figure(figsize=(9, 3.5 * -(-len(kinds) // 2)) if len(kinds) > 1 else (6, 3.8))
    panels = figure.subplots(-(-len(kinds) // 2), min(2, len(kinds)), squeeze=False, sharey=True).flatten()
    looks = lines_of(results.rules, theme)
    for kind, axes in zip(kinds, panels, strict=False):
        for curve in results.curves_of(kind):
            look, means = looks[curve.rule], [spread.mean for spread in curve.scores if spread.mean is not None]
            deviations = [spread.deviation or 0.0 for spread in curve.scores]
            low, high = ([mean + sign * one for mean, one in zip(means, deviations, strict=True)] for sign in (-1, 1))
            axes.plot(curve.levels, means, marker=".", **look)
            axes.fill_between(curve.levels, low, high, color=look["color"], alpha=0.18, linewidth=0)
        axes.set(title=kind, xlabel=words.level, ylabel=f"test {results.metric}")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda level, _: words.unit.format(level)))
    for axes in panels[len(kinds) :]:
        axes.remove()
    panels[0].legend(loc="best", ncols=1 + (len(results.rules) > 5))
    return figure


def _page(results: StressResults, words: Words, picture: Any) -> str:
    from altprop.experiment.reports.page import render  # noqa: PLC0415

    data = results.data
    shape = "×".join(map(str, data.input_shape))
    return render(
        "stress.html",
        results=results,
        title=words.title,
        subtitle=words.subtitle,
        header=header(results, words),
        rows=[(verdict_of(curve), cells) for curve, cells in zip(results.curves, rows(results, words), strict=True)],
        note=words.note,
        pictures=[picture],
        messages=list(results.notes),
        facts={
            "networks": f"{results.network}, of {results.source}",
            "data": f"{data.name}: {data.test:,} test samples of {shape}",
            **words.facts,
        },
        command=words.command,
    )
