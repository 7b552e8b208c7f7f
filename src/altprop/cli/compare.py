"""``altprop compare``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from altprop.cli.options import Later, as_epilog, with_options
from altprop.cli.output import print_results

HELP = """
Train one network by several rules side by side, from the same weights and on the same batches.

Backprop and shallow, the control whose hidden layers learn nothing, always take part. The results go to a folder in
runs/: a report to open in a browser, its pictures, and tables in CSV and JSON.
"""

EXAMPLES = """
altprop compare --data digits --model 256-256
altprop compare --data mnist-5k --model lenet --epochs 30 --lr-grid 0.3,0.1,0.03,0.01
altprop compare --rules lfp:epsilon=0.1 --activation step --optimizer adam --lr backprop=1e-3,lfp=3e-3
altprop compare --data swirl --model 32-32 --epochs 200 --name swirl
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.experiment.comparison import compare
    from altprop.experiment.settings import Settings

    return with_options(compare, Settings, print_results)
