"""The commands, together."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from altprop import __version__

app = typer.Typer(
    name="altprop",
    help="Train any PyTorch network by any rule for sending credit backward, and explain it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"altprop {__version__}")
        raise typer.Exit


_VERSION = typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")


@app.callback()
def _altprop(_version: Annotated[bool, _VERSION] = False) -> None:
    try:
        import altprop.experiment  # noqa: F401  (it says what is missing of its extra)
    except ModuleNotFoundError as error:
        typer.echo(f"altprop: {error}", err=True)
        raise typer.Exit(1) from None


_FILES = (
    "demo", "compare", "train", "recipes", "sweep", "explain", "prune", "robustness", "report", "flax", "data", "lists"
)  # fmt: skip
for _file in _FILES:
    import_module(f"altprop.cli.{_file}").add_to(app)
