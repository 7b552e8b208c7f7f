"""``altprop demo``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from altprop.cli.options import Later, as_epilog, with_options

if TYPE_CHECKING:
    from altprop.experiment.demo.results import Demo

HELP = """
Show in two minutes what altprop is for, on digits that need no download.

One network is trained by every rule; a network of steps, which backprop cannot train, by LFP; and digits are explained,
one of which the network misreads. All of it is on one page, runs/demo/report.html; beside it lies what `altprop
compare` and `altprop explain` write of each part.
"""

EXAMPLES = """
altprop demo
altprop demo --seeds 1 --epochs 2 --name shorter
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.experiment.demo.results import DemoSettings
    from altprop.experiment.demo.running import demonstrate

    return with_options(demonstrate, DemoSettings, _show)


def _show(demo: Demo) -> None:
    from altprop.cli.output import print_outcome
    from altprop.experiment.demo.seen import headline
    from altprop.experiment.reports.study_table import terminal_table

    tables = [terminal_table(demo.rules), terminal_table(demo.steps)]
    print_outcome(tables, demo.messages, demo.folder, headline=headline(demo))
