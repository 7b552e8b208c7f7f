"""``altprop prune``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from altprop.cli.options import Later, as_epilog, with_options
from altprop.cli.output import end_if_interrupted, print_outcome

if TYPE_CHECKING:
    from altprop.experiment.stress.pruning_results import PruneResults

HELP = """
Prune the networks of an experiment at growing rates: how much can go before they fail, by learning rule?

Weights, or channels and neurons, are ranked by their magnitude, their relevance for the true classes, the updates that
their rule gives them, or by chance. Nothing is trained again. The results go to a folder in runs/: a report to open in
a browser, its picture, and tables in CSV and JSON.
"""

EXAMPLES = """
altprop prune runs/mine
altprop prune runs/mine --by magnitude,relevance,updates,random --rates 0.5,0.8,0.9,0.95
altprop prune runs/mine --by relevance --composite epsilon_plus --structured --per-layer
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prune", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.experiment.stress.pruning import prune
    from altprop.experiment.stress.settings import PruneSettings

    return with_options(prune, PruneSettings, _show)


def _show(results: PruneResults) -> None:
    from altprop.experiment.stress.output import terminal_tables

    print_outcome(terminal_tables(results, results.words), results.notes, results.folder)
    end_if_interrupted(results.interrupted)
