"""``altprop data``, with ``list``, ``info`` and ``download``: the data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from altprop.cli.output import errors_for_the_reader, print_list


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    data = typer.Typer(help="List the data sets, and say where their files go.", invoke_without_command=True)
    data.callback()(_data)
    data.command("list")(list_data)
    data.command("info")(info)
    data.command("download")(download)
    app.add_typer(data, name="data")


def _data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_data()


def list_data() -> None:
    """List the data sets: the embedded ones come with altprop, the others are read from a folder."""
    from altprop.experiment.data.catalog import DATA_SETS, HUGGING_FACE
    from altprop.experiment.data.describe import kind

    rows = (
        [name, entry.task, entry.size, entry.summary, f"{kind(entry)}: {entry.origin}"]
        for name, entry in {**DATA_SETS, "hf:NAME": HUGGING_FACE}.items()
    )
    print_list("Data sets", ["--data", "task", "size", "", "files"], rows, whole=2)


def info(name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)]) -> None:
    """Say what a data set is, where it is published, where its files go and how its images are prepared."""
    from altprop.experiment.data.describe import describe

    with errors_for_the_reader():
        lines = describe(name)
    print_list(name, ["", ""], lines)


def download(
    name: Annotated[str, typer.Argument(metavar="NAME[:ROOT]", help="ROOT: into which folder; data if unset.")],
) -> None:
    """Download the files of a data set that are missing, check them, and read them."""
    from altprop.experiment.data.memory import download_data

    with errors_for_the_reader():
        typer.echo(download_data(name))
