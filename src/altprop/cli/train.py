"""``altprop train``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from altprop.cli.options import Later, as_epilog

HELP = """
Train one network by one rule, for each seed.

A recipe is a YAML file that says everything about a run, or the name of one that comes with altprop: see `altprop
recipes`. Flags and -o change what it says. The results go to a folder in runs/: the networks with their checkpoints, a
report to open in a browser, its pictures, and tables in CSV and JSON.
"""

EXAMPLES = """
altprop train --rule lfp --data digits
altprop train --rule lfp:epsilon=0 --data sine --model 64-64 --objective regression --optimizer adam
altprop train lfp-digits -o training.seeds=3
altprop train mine.yaml -o optimizer.weight_decay=1e-4 --name mine
altprop train mine.yaml --name mine --resume
torchrun --nproc-per-node 4 -m altprop.cli train mine.yaml --devices 4 --strategy ddp
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.cli.training import training_command

    return training_command("train")
