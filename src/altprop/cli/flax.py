"""``altprop flax train``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from altprop.cli.options import Later, as_epilog
from altprop.cli.output import fail

HELP = """
Train a network in JAX by one rule, or by several side by side, for each seed.

It takes the recipes and the flags of `altprop train`; what JAX cannot do of them is refused. Networks start from the
weights, and see the batches, that they have there, and the results go to a folder of the same form: its networks can be
explained, pruned and attacked too. It needs the extra altprop[flax].
"""

EXAMPLES = """
altprop flax train --rule lfp --data digits
altprop flax train --rules backprop,fa,lfp --data teacher-student --model 64-32 --activation tanh --epochs 100
altprop flax train lfp-digits -o training.seeds=3 --name mine
altprop flax train lfp-digits -o training.seeds=3 --name mine --resume
"""


def add_to(app: typer.Typer) -> None:
    """Add the command, and the group that it is in."""
    group = typer.Typer(no_args_is_help=True, help="The same rules in JAX.", rich_markup_mode="rich")
    group.command("train", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)
    app.add_typer(group, name="flax")


def _command() -> Callable[..., None]:
    from altprop.cli.training import training_command

    try:
        from altprop.flax.checks import jax_keys
        from altprop.flax.training import train
    except ModuleNotFoundError as error:
        fail(str(error))
    return training_command("train", train, jax_keys())
