"""What ``altprop compare`` and ``altprop train`` share: a recipe, with its keys as flags."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from inspect import Parameter
from typing import TYPE_CHECKING, Any

import typer

from altprop.cli.options import declare, given_values, parameter
from altprop.cli.output import errors_for_the_reader, fail, print_outcome, watched

if TYPE_CHECKING:
    from altprop.experiment.records.study import Study

_MOMENT = 10.0  # seconds of grace, in which slower ranks reach the same error
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where Fabric looks for a process's number
_OUTPUT = ("out", "name", "overwrite", "resume")

# What else some flags are called.
_ALSO = {"rules": ["--rules", "--rule", "-r"], "device": ["--device", "--accelerator"]}


def training_command(
    verb: str, trains: Callable[..., Study] | None = None, shown: Collection[str] | None = None
) -> Callable[..., None]:
    """Make the function of a command that trains by a recipe.

    Args:
        verb: ``"compare"`` or ``"train"``: also the name of the recipe that it takes where none is named.
        trains: what it calls. Unset: the function of :mod:`altprop.experiment` of that name.
        shown: the keys whose flags its help shows. Unset: all.
    """

    def command(context: typer.Context, recipe: str | None, changes: list[str] | None, **values: Any) -> None:
        from altprop.experiment import comparison
        from altprop.experiment.recipes import shipped_recipes
        from altprop.experiment.recipes.flags import make_recipe

        given = given_values(context, values)
        options = {name: given.pop(name) for name in _OUTPUT if name in given}
        with errors_for_the_reader(), _first_to_speak():
            made = make_recipe(recipe or shipped_recipes()[verb], changes or [], given, before="--")
            run = watched if is_first() else _unwatched
            study = run(trains or getattr(comparison, verb), made, **options)
        _show(study, verb)

    declare(command, _parameters(verb, shown))
    return command


def _parameters(verb: str, keys: Collection[str] | None) -> list[Parameter]:
    from altprop.experiment.recipes import load_recipe, shipped_recipes
    from altprop.experiment.recipes.describing import meaning_of
    from altprop.experiment.recipes.flags import FLAGS, as_text, values_of

    named = f"YAML file, or name of a recipe; see `altprop recipes`. Unset: {verb}."
    start = load_recipe(shipped_recipes()[verb])
    shown = {**values_of(start), "rule": ", ".join(rule.label for rule in start.rules)}
    options = []
    for name, key in FLAGS.items():
        flags = _ALSO.get(name, [f"--{name.replace('_', '-')}"])
        default = shown[key]
        looks: dict[str, Any] = {"help": meaning_of(key), "hidden": keys is not None and key not in keys}
        if isinstance(default, bool):
            options.append(parameter(name, bool, typer.Option(*flags, **looks), default=default))
        else:
            text = None if default in (None, []) else as_text(key, default)
            options.append(parameter(name, str | None, typer.Option(*flags, metavar="TEXT", **looks), text))
    change = typer.Option("-o", help="Change any key of the recipe; may be repeated.", metavar="KEY=VALUE")
    return [
        parameter("recipe", str | None, typer.Argument(help=named, metavar="RECIPE", show_default=False)),
        *options,
        parameter("changes", list[str] | None, change),
        parameter("out", str | None, typer.Option("--out", help="Folder of all results.", metavar="FOLDER"), "runs"),
        parameter("name", str | None, typer.Option("--name", help=_NAME, metavar="NAME", show_default=False)),
        parameter("overwrite", bool, typer.Option("--overwrite", help=_OVERWRITE), default=False),
        parameter("resume", bool, typer.Option("--resume", help=_RESUME), default=False),
    ]


_NAME = "Folder of these results, within --out. Unset: named for the contents."
_OVERWRITE = "Replace earlier results of the same name."
_RESUME = "Go on with earlier results of the same name, from the last good checkpoints."


def is_first() -> bool:
    """Whether this is the process that speaks for all that train together, on any machine."""
    if "lightning_fabric" not in sys.modules and not any(name in os.environ for name in _RANKS):
        return True
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return not getattr(rank_zero_only, "rank", 0)


@contextmanager
def _first_to_speak() -> Iterator[None]:
    """Let the first process say what is wrong for all of them: torchrun ends the others within this moment.

    What is wrong in another process alone, such as a file that its machine does not have, is said after it.
    """
    from altprop.experiment.errors import InputError

    try:
        yield
    except InputError:
        if not is_first():
            time.sleep(_MOMENT)
        raise


def _unwatched(run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return run(*arguments, **options)


def _show(study: Study, verb: str) -> None:
    from altprop.experiment.records.folder import name_of
    from altprop.experiment.reports.study_table import terminal_table
    from altprop.experiment.training.stopping import exit_status

    if is_first():
        print_outcome([terminal_table(study)] if study.cells else [], study.messages, study.folder)
    if study.interrupted:
        name = name_of(study.folder) if study.folder else "NAME"
        fail(f"Interrupted: go on with it by --resume --name {name}.", code=exit_status())
    if verb == "train" and study.diverged and not study.compares:
        raise typer.Exit(1)
