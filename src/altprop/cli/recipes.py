"""``altprop recipes``: the recipes that come with altprop, and what a recipe can say."""

from __future__ import annotations

from typing import Annotated

import typer

from altprop.cli.completing import offer_recipes
from altprop.cli.output import errors_for_the_reader, print_list

_NAME = typer.Argument(help="Recipe: its name.", show_default=False, autocompletion=offer_recipes)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        help="List the recipes that come with altprop, show one, or all that a recipe can say.",
        invoke_without_command=True,
    )
    family.callback()(recipes)
    family.command()(show)
    family.command()(schema)
    app.add_typer(family, name="recipes")


def recipes(context: typer.Context) -> None:
    """List the recipes that come with altprop, show one, or all that a recipe can say."""
    if context.invoked_subcommand is not None:
        return
    from altprop.experiment.recipes.reading import read_file
    from altprop.experiment.recipes.shipped import shipped_recipes

    rows = ([name, read_file(path).values["summary"]] for name, path in shipped_recipes().items())
    print_list("Recipes, to run with: altprop train NAME", ["name", ""], rows)


def show(name: Annotated[str, _NAME]) -> None:
    """Print a recipe: to copy, to a file of your own."""
    from altprop.experiment.recipes.shipped import find_recipe

    with errors_for_the_reader():
        typer.echo(find_recipe(name).read_text(encoding="utf-8"), nl=False)


def schema() -> None:
    """Print every key of a recipe with its default and its meaning."""
    from altprop.experiment.recipes.describing import describe

    typer.echo(describe(), nl=False)
