"""``altprop flax train``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from altprop.cli.options import Later, as_epilog, with_options
from altprop.cli.output import fail

if TYPE_CHECKING:
    from altprop.flax.results import FlaxResults

HELP = "Train one network in JAX by one rule, and keep its weights. It needs the extra altprop[flax]."

EXAMPLES = """
altprop flax train --rule lfp --data digits
altprop flax train --rule fa --data teacher-student --hidden 64-32 --activations tanh --lr 0.03 --epochs 100
altprop flax train --rule kp --data mnist:data --hidden 500-500 --weight-decay 1e-4 --validation 0.1
altprop flax train --rule dfa --data sine --hidden 32-32 --activations tanh,linear --optimizer adam
"""


def add_to(app: typer.Typer) -> None:
    """Add the command, and the group that it is in."""
    group = typer.Typer(no_args_is_help=True, help="The same rules in JAX.", rich_markup_mode="rich")
    group.command("train", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)
    app.add_typer(group, name="flax")


def _command() -> Callable[..., None]:
    try:
        from altprop.flax.settings import FlaxSettings
        from altprop.flax.training import train
    except ModuleNotFoundError as error:
        fail(str(error))
    return with_options(train, FlaxSettings, _show)


def _show(results: FlaxResults) -> None:
    from rich.console import Console
    from rich.table import Table

    settings, last = results.settings, results.epochs[-1]
    table = Table("rule", "lr", "epochs", results.metric, "cosine", "weight cosine", "seconds")
    table.add_row(
        settings.rule,
        f"{results.lr:g}",
        str(last.epoch),
        f"{last.test_score:.3f}",
        *("" if value is None else f"{value:.2f}" for value in (last.cosine, last.weight_cosine)),
        f"{results.seconds:.1f}",
    )
    console = Console()
    console.print(table)
    if results.folder:
        console.print(f"Results: {results.folder}", markup=False, highlight=False, soft_wrap=True)
    if results.interrupted:
        from altprop.experiment.training.stopping import exit_status

        fail("Interrupted: the epochs so far were kept.", code=exit_status())
    if results.diverged:
        fail(f"{settings.rule} diverged in epoch {last.epoch}: a learning rate below {results.lr:g} may help.", code=1)
