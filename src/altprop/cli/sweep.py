"""``altprop sweep`` and ``altprop worker``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altprop.cli.completing import offer_changes
from altprop.cli.options import Later, as_epilog, declare, given_values, option_of, parameter
from altprop.cli.output import errors_for_the_reader, fail, print_outcome, watched

if TYPE_CHECKING:
    from altprop.experiment.sweeps import SweepResults

HELP = """
Search what a recipe leaves open: its section search says what to try, and what to tune on.

A sweep lives in a database, a file or PostgreSQL, that any number of workers share. Each trial is done once, whoever is
killed on the way: the same command goes on with the sweep. A value given by -o is not searched. The results go to a
folder in runs/: a report to open in a browser, the recipe of the best trial, and tables in CSV and JSON.
"""

EXAMPLES = """
altprop sweep recipe.yaml --search grid --workers 4
altprop sweep recipe.yaml --search tpe --trials 50 --executions 3 -o rule=dfa -o model.norm=none
altprop sweep recipe.yaml --trials 500 --storage postgresql://me@server/sweeps --name big --slurm workers.sh
"""

WORKER_HELP = """
Take trials of a sweep until there are none left. Start as many workers as you like, on as many machines.
"""

WORKER_EXAMPLES = """
altprop worker postgresql://me@server/sweeps/big
altprop worker runs/sweep-recipe
"""

_TARGET = typer.Argument(help="Storage and name of the sweep, with a slash between; or its folder.", metavar="SWEEP")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sweep", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_sweep)
    app.command("worker", help=WORKER_HELP, epilog=as_epilog(WORKER_EXAMPLES))(_work)


def _sweep() -> Callable[..., None]:
    from altprop.experiment.sweeps.settings import SweepSettings

    def command(context: typer.Context, **values: Any) -> None:
        from altprop.experiment.sweeps.sweeping import SweepInterrupted, sweep
        from altprop.experiment.training.stopping import exit_status

        with errors_for_the_reader():
            try:
                results = watched(sweep, SweepSettings(**given_values(context, values)))
            except SweepInterrupted as interrupted:
                _show(interrupted.results)
                fail(
                    "Interrupted: the trials so far were kept. The same command goes on with the sweep.",
                    code=exit_status(),
                )
        _show(results)

    meaning = SweepSettings.model_fields["override"].description
    again = typer.Option("-o", help=meaning, metavar="KEY=VALUE", autocompletion=offer_changes)
    options = {name: option_of(SweepSettings, name) for name in SweepSettings.model_fields}
    declare(command, list((options | {"override": parameter("override", list[str] | None, again)}).values()))
    return command


def _show(results: SweepResults) -> None:
    from altprop.experiment.sweeps.table import notes, terminal_table

    ended = results.left < len(results.trials)
    print_outcome([terminal_table(results)] if ended else [], notes(results), results.folder if ended else None)
    if ended and not results.left and results.best is None:
        raise typer.Exit(1)


def _work(target: Annotated[str, _TARGET]) -> None:
    from altprop.experiment.sweeps.storage import split_target
    from altprop.experiment.sweeps.working import work
    from altprop.experiment.training.stopping import exit_status

    with errors_for_the_reader():
        try:
            done = watched(work, *split_target(target))
        except KeyboardInterrupt:
            fail("Interrupted: the trial in hand was given back.", code=exit_status())
    typer.echo(f"{done} trials done; there are none left.")
