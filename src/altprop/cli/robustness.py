"""``altprop robustness``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from altprop.cli.options import Later, as_epilog, with_options
from altprop.cli.output import end_if_interrupted, print_outcome

if TYPE_CHECKING:
    from altprop.experiment.stress.robustness_results import RobustnessResults

HELP = """
Attack the networks of an experiment: how accurate do they stay under FGSM and PGD, by learning rule?

Every network is attacked by its own true gradient, whatever rule trained it. The results go to a folder in runs/: a
report to open in a browser, its picture, and tables in CSV and JSON.
"""

EXAMPLES = """
altprop robustness runs/mine
altprop robustness runs/mine --attacks pgd --steps 40 --epsilons 0.05,0.1,0.2
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("robustness", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.experiment.stress.robustness import robustness
    from altprop.experiment.stress.settings import RobustnessSettings

    return with_options(robustness, RobustnessSettings, _show)


def _show(results: RobustnessResults) -> None:
    from altprop.experiment.stress.output import terminal_tables

    print_outcome(terminal_tables(results, results.words), results.notes, results.folder)
    end_if_interrupted(results.interrupted)
