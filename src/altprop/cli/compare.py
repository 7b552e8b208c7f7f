"""``altprop compare``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from altprop.cli.options import Later, as_epilog

HELP = """
Train one network by several rules side by side, from the same weights and on the same batches.

Backprop and shallow, the control whose hidden layers learn nothing, always take part. The results go to a folder in
runs/: a report to open in a browser, its pictures, tables in CSV and JSON, and the networks with their checkpoints. A
recipe, and -o, say what there are no flags for: see `altprop recipes schema`.
"""

EXAMPLES = """
altprop compare --data digits --model 256-256
altprop compare --data mnist-5k --model lenet --epochs 30 --lr-grid 0.3,0.1,0.03,0.01
altprop compare --rules lfp:epsilon=0.1 --activation step --optimizer adam --lr backprop=1e-3,lfp=3e-3
altprop compare --data swirl --model 32-32 --epochs 200 --name swirl
altprop compare mine.yaml --rules lfp,dfa -o optimizer.weight_decay=1e-4 --name mine --resume
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.cli.training import training_command

    return training_command("compare")
