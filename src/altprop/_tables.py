"""Results as tables for a notebook and for pandas; neither need be installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any, NamedTuple


class Table(NamedTuple):
    """What a notebook shows of results.

    Attributes:
        caption: what it is.
        header: the heads of the columns.
        rows: the cells.
    """

    caption: str
    header: Sequence[str]
    rows: Iterable[Sequence[Any]]


class Tabular:
    """Results that a notebook shows as a table, and that can become a data frame."""

    def _table(self) -> Table:
        raise NotImplementedError

    def _records(self) -> Iterable[Mapping[str, Any]]:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return as_html(self._table())

    def to_dataframe(self) -> Any:
        """The results as a ``pandas.DataFrame``, a row for each thing that was measured.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError as error:
            if error.name != "pandas":
                raise
            message = "A data frame needs pandas, which is not installed. Install it with: pip install pandas"
            raise ModuleNotFoundError(message, name="pandas") from None
        return pandas.DataFrame(list(self._records()))


def as_html(table: Table) -> str:
    """A table as HTML, in whatever colours the page around it has.

    Example:
        >>> as_html(Table("Scores", ["rule", "test"], [["lfp", 0.5]])).partition("<tbody>")[2]
        '<tr><th scope="row">lfp</th><td>0.5</td></tr></tbody></table>'
    """
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in table.header)
    body = "".join(f"<tr>{_row(cells)}</tr>" for cells in table.rows)
    caption = f"<caption>{escape(table.caption)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: Sequence[Any]) -> str:
    first, *others = (escape(_text(cell)) for cell in cells)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)


def _text(cell: Any) -> str:
    if cell is None:
        return "–"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
