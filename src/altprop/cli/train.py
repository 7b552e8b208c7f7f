"""``altprop train``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from altprop.cli.options import Later, as_epilog, with_options
from altprop.cli.output import print_results

if TYPE_CHECKING:
    from altprop.experiment.results import Results

HELP = "Train one network by one rule, and keep its weights: as compare, and model.pt."

EXAMPLES = """
altprop train --rule lfp --data digits
altprop train --rule lfp:epsilon=0 --data sine --model 64-64 --objective regression --optimizer adam
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.experiment.comparison import train
    from altprop.experiment.settings import Settings

    return with_options(train, Settings, _show, rules="lfp")


def _show(results: Results) -> None:
    print_results(results)
    if any(run.divergence for run in results.runs):
        raise typer.Exit(1)
