"""The table of a comparison: what stands in it, and how it looks in a terminal."""

from __future__ import annotations

from rich.table import Table

from altprop.experiment.results import Results, Summary, Verdict

_VERDICTS: dict[Verdict | None, str] = {
    "yes": "yes",
    "no": "no",
    "unclear": "unclear",
    "control": "control",
    None: "–",
}
_STYLES = {"yes": "green", "no": "red", "unclear": "yellow"}

CONTROL_NOTE = "A rule that does not beat shallow, the control, has taught the hidden layers nothing."


def header(results: Results) -> list[str]:
    """The heads of the columns."""
    columns = ["rule", "lr", f"test {results.metric}", "step time", "cosine", "sparsity"]
    return columns + (["beats shallow"] if results.command == "compare" else [])


def row(results: Results, summary: Summary) -> list[str]:
    """The cells of one rule, in the order of :func:`header`."""
    cells = [
        summary.rule,
        _number(summary.lr, "{:g}"),
        _score(summary),
        _number(summary.step_ratio, "{:.2f}×"),
        _number(summary.cosine, "{:.2f}"),
        _number(summary.sparsity, "{:.0%}"),
    ]
    return cells + ([_VERDICTS[summary.beats_control]] if results.command == "compare" else [])


def terminal_table(results: Results) -> Table:
    """The table for a terminal."""
    data, settings = results.data, results.settings
    seeds = f"{len(settings.seeds)} seed" + ("s" if len(settings.seeds) > 1 else "")
    title = f"{data.name} · {settings.model} · {settings.epochs} epochs · {seeds}"
    table = Table(title=title, caption=CONTROL_NOTE if results.command == "compare" else None)
    scores_alone = not any(summary.trouble for summary in results.summaries)
    for number, name in enumerate(header(results)):
        # A score is not torn apart; what went wrong may take more lines.
        whole = number == 2 and scores_alone
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold", no_wrap=whole)
    for summary in results.summaries:
        *cells, last = row(results, summary)
        style = _STYLES.get(last)
        table.add_row(*cells, f"[{style}]{last}[/]" if style else last)
    return table


def _score(summary: Summary) -> str:
    if summary.score is None:
        return summary.trouble or "–"
    deviation = "" if summary.deviation is None else f" ± {summary.deviation:.3f}"
    trouble = f"\n{summary.trouble}" if summary.trouble else ""
    return f"{summary.score:.3f}{deviation}{trouble}"


def _number(value: float | None, text: str) -> str:
    return "–" if value is None else text.format(value)
