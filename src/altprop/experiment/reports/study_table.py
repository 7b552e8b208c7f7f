"""The table of a study: what stands in it, and how it looks in a terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from altprop.experiment.labels import base_name
from altprop.experiment.records.statistics import LEAD_NOTE, Spread
from altprop.experiment.records.study import Cell, Study
from altprop.experiment.records.summary import Summary
from altprop.experiment.registry import CONTROL, REFERENCE

_STYLES = {"yes": "green", "no": "red"}

CONTROL_NOTE = "A rule that does not beat shallow, the control, has taught the hidden layers nothing."

OVER_CONTROL = f"Beats {CONTROL}: {LEAD_NOTE}."
"""What stands in that column, in words."""

_Column = tuple[str, Callable[[Summary], str]]


def has_control(study: Study) -> bool:
    """Whether a study compares rules with the control."""
    return study.compares and any(base_name(rule) == CONTROL for rule in study.rules)


def header(study: Study) -> list[str]:
    """The heads of the columns."""
    return [name for name, _ in _columns(study)]


def row(study: Study, summary: Summary) -> list[str]:
    """The cells of one rule, in the order of :func:`header`."""
    return [cell(summary) for _, cell in _columns(study)]


def verdict_of(summary: Summary) -> str:
    """Whether a rule beats the control: yes, no, or nothing where that cannot be told, and of backprop."""
    lead = None if base_name(summary.rule) == REFERENCE else summary.over_control
    return lead.verdict or "" if lead else ""


def _over_control(summary: Summary) -> str:
    """The lead; of backprop, which is what others are measured by, without a verdict."""
    if summary.over_control is None:
        return "–"
    return summary.over_control.number() if base_name(summary.rule) == REFERENCE else summary.over_control.text()


def _columns(study: Study) -> list[_Column]:
    """What there is to show: what was not measured has no column."""
    summaries = study.summaries
    columns: list[_Column] = [
        ("rule", lambda one: one.rule),
        ("lr", lambda one: _number(one.lr, "{:g}")),
        (f"test {study.metric}", _score),
    ]
    if any(cell.judged and cell.judged.val_score is not None for cell in study.cells):
        columns.insert(2, (f"validation {study.metric}", lambda one: _validation(study, one.rule)))
    if study.step_times:
        columns.append(("step time", lambda one: _number(one.step_ratio, "{:.2f}×")))
    if any(one.cosine is not None for one in summaries):
        columns.append(("cosine (hidden)", lambda one: _number(one.cosine, "{:.2f}")))
    if any(one.sparsity is not None for one in summaries):
        columns.append(("sparsity", lambda one: _number(one.sparsity, "{:.0%}")))
    if has_control(study):
        columns.append((f"beats {CONTROL}", _over_control))
    return columns


def terminal_table(study: Study) -> Table:
    """The table for a terminal: a line for each rule, or of a single rule for each network."""
    return _rule_table(study) if study.compares else _cell_table(study)


def _rule_table(study: Study) -> Table:
    recipe, seeds = study.recipe, f"{len(study.seeds)} seed" + ("s" if len(study.seeds) > 1 else "")
    steps, epochs = recipe.training.steps, recipe.training.planned_epochs
    length = f"{steps} steps" if steps else f"{epochs} epoch" + "s" * (epochs > 1)
    title = f"{study.data.name} · {recipe.model.name} · {length} · {seeds}"
    table = Table(title=title, caption=f"{OVER_CONTROL} {CONTROL_NOTE}" if has_control(study) else None)
    scores_alone = not any(summary.trouble for summary in study.summaries)
    for number, name in enumerate(header(study)):
        # A score is not torn apart; what went wrong may take more lines.
        whole = name.startswith("test ") and scores_alone
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold", no_wrap=whole)
    for summary in study.summaries:
        *cells, last = row(study, summary)
        style = _STYLES.get(verdict_of(summary)) if has_control(study) else None
        table.add_row(*cells, f"[{style}]{last}[/]" if style else last)
    return table


_CELLS = ("seed", "lr", "epochs", "best", "training loss", "validation", "test", "time", "")


def _cell_table(study: Study) -> Table:
    test = study.summaries[0].test if study.cells else Spread.of(())
    over = f", test {test.text()} over {len(study.cells)} seeds" if test.deviation is not None else ""
    title = f"{study.data.name} · {study.recipe.model.name} · {study.rules[0]}"
    table = Table(title=title, caption=f"{study.metric}{over}")
    for name in _CELLS:
        table.add_column(name, justify="right")
    for cell in study.cells:
        table.add_row(*_cell_row(cell))
    return table


def _cell_row(cell: Cell) -> list[str]:
    figures = cell.judged
    numbers = (figures.train_loss, figures.val_score, figures.test_score) if figures else (None, None, None)
    return [
        str(cell.seed),
        f"{cell.lr:g}",
        str(len(cell.history)),
        "–" if cell.best_epoch is None else str(cell.best_epoch),
        *(_number(number, "{:.3f}") for number in numbers),
        f"{cell.seconds:.1f} s",
        "" if cell.status == "finished" else cell.status,
    ]


def _validation(study: Study, rule: str) -> str:
    return Spread.of(cell.judged.val_score for cell in study.cells_of(rule) if cell.counts and cell.judged).text()


def _score(summary: Summary) -> str:
    if summary.test.mean is None:
        return summary.trouble or "–"
    return summary.test.text() + (f"\n{summary.trouble}" if summary.trouble else "")


def _number(value: float | None, text: str) -> str:
    return "–" if value is None else text.format(value)
