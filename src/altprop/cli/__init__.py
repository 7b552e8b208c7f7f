"""The command line: it reads the options, calls one function of :mod:`altprop.experiment`, and prints.

Each command has a file, whose ``add_to`` adds it. A command imports what it needs when it is called, so that
``altprop --help`` need not wait for it.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

try:
    import typer

    import altprop.experiment  # noqa: F401  (it says what is missing of its extra)
except ModuleNotFoundError as error:
    raise SystemExit(
        f"The command line needs {error.name}, which is not installed. Install it with: "
        f"pip install 'altprop[experiments]'"
    ) from None

from altprop.cli import compare, data, demo, explain, flax, lists, prune, recipes, report, robustness, sweep, train

app = typer.Typer(
    name="altprop",
    help="Train any PyTorch network by any rule for sending credit backward, and explain it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command that ``sys.argv`` gives."""
    app()


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"altprop {version('altprop')}")
        raise typer.Exit


_VERSION = typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")


@app.callback()
def _altprop(_version: Annotated[bool, _VERSION] = False) -> None:
    pass


for _commands in (demo, compare, train, recipes, sweep, explain, prune, robustness, report, flax, data, lists):
    _commands.add_to(app)
