"""``altprop report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from altprop.cli.options import as_epilog
from altprop.cli.output import errors_for_the_reader, print_outcome

HELP = """
Merge runs into one page: tables, curves, pictures and recipes, side by side.

FOLDERS are of runs, or hold runs at any depth: of compare, train, sweep, prune, robustness and flax train. The page
goes to a folder in runs/, with its pictures and its tables: table.csv, runs.csv (a line for each network) and table.md.
"""

EXAMPLES = """
altprop report runs
altprop report runs/fa runs/dfa runs/lfp --name feedback
altprop report runs/mnist-* --name mnist --overwrite
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", help=HELP, epilog=as_epilog(EXAMPLES))(_report)


def _report(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDERS...", help="Of runs.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of all results.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option(help="Folder of this report, within --out. Unset: report.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report of the same name.")] = False,
) -> None:
    from altprop.experiment.reports.running import report
    from altprop.experiment.reports.table import terminal_tables

    with errors_for_the_reader():
        made = report(folders, out=out, name=name, overwrite=overwrite)
    print_outcome(terminal_tables(made), made.notes, made.folder)
