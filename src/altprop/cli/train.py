"""``altprop train``: by a recipe, or by flags."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from altprop.cli.options import Later, as_epilog, declare, given_values, option_of, parameter
from altprop.cli.output import errors_for_the_reader, fail, print_outcome, print_results, watched

if TYPE_CHECKING:
    from altprop.experiment.records.training import Training
    from altprop.experiment.results import Results

HELP = """
Train one network by one rule, and keep its weights.

A recipe is a YAML file that says everything about a run, or the name of one that comes with altprop: see `altprop
recipes`. Without one, flags say what to train: the results are those of compare, and model.pt.
"""

EXAMPLES = """
altprop train lfp-digits
altprop train mine.yaml -o optimizer.lr=0.01 -o training.seeds=3 --name mine
altprop train mine.yaml --name mine --resume
torchrun --nproc-per-node 4 -m altprop.cli train mine.yaml --devices 4 --strategy ddp
altprop train --rule lfp --data digits
altprop train --rule lfp:epsilon=0 --data sine --model 64-64 --objective regression --optimizer adam
"""

_WITH, _WITHOUT = "With a recipe", "Without a recipe"
_MOMENT = 10.0  # seconds, in which a process that started a little later has come as far
_OUTPUT = ("out", "name", "overwrite")

# What some keys of a recipe are called on the command line, for those who start the same recipe on many machines.
_FLAGS = {
    "accelerator": ("machine.accelerator", "Where: cpu, cuda, mps or auto."),
    "devices": ("machine.devices", "How many devices per machine, or auto."),
    "strategy": ("machine.strategy", "How they share the work: auto, ddp or fsdp."),
    "num_nodes": ("machine.nodes", "How many machines."),
    "precision": ("machine.precision", "Precision: 32-true, bf16-mixed, 16-mixed, 64-true, bf16-true."),
    "track": ("track.metrics", "What to measure: bp_cosine,weight_alignment,sparsity,norms."),
}

_KEYS = {
    "data": "data.name",
    "task": "data.task",
    "model": "model.name",
    "rules": "rule",
    "lr": "optimizer.lr",
    "optimizer": "optimizer.name",
    "momentum": "optimizer.momentum",
    "clip": "training.clip",
    "activation": "model.activation",
    "norm": "model.norm",
    "dropout": "model.dropout",
    "pretrained": "model.pretrained",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "seeds": "training.seeds",
    "objective": "objective.name",
    "device": "machine.accelerator",
    "threads": "machine.threads",
}

_NO_KEYS = {
    "lr_grid": "name the rates in search.space, for altprop sweep",
    "keep_weights": "with one, weights are always kept",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    def train(context: typer.Context, recipe: str | None, changes: list[str] | None, **values: Any) -> None:
        given = given_values(context, values)
        if recipe is None:
            _train_by_flags(given, changes or [])
        else:
            _train_by_recipe(recipe, changes or [], given)

    declare(train, _parameters())
    return train


def _parameters() -> list[Parameter]:
    from altprop.experiment.settings import Settings

    recipe = typer.Argument(
        help="YAML file, or name of a recipe; see `altprop recipes`.", metavar="RECIPE", show_default=False
    )
    changes = typer.Option(
        "-o", help="Change a key of the recipe; may be repeated.", metavar="KEY=VALUE", rich_help_panel=_WITH
    )
    resume = typer.Option("--resume", help="Go on from the last good checkpoint.", rich_help_panel=_WITH)
    flags = {
        name: typer.Option(f"--{name.replace('_', '-')}", help=f"{text} The recipe's {key}.", rich_help_panel=_WITH)
        for name, (key, text) in _FLAGS.items()
    }
    fields = [name for name in Settings.model_fields if name not in _OUTPUT]
    return [
        parameter("recipe", str | None, recipe),
        parameter("changes", list[str] | None, changes),
        parameter("resume", bool, resume, default=False),
        *(parameter(name, str | None, option) for name, option in flags.items()),
        *(option_of(Settings, name, {"rules": "lfp"}.get(name), panel=_WITHOUT) for name in fields),
        *(option_of(Settings, name, flags=[f"--{name}"]) for name in _OUTPUT),
    ]


def _train_by_flags(given: dict[str, Any], changes: list[str]) -> None:
    from altprop.experiment.comparison import train
    from altprop.experiment.settings import Settings

    with errors_for_the_reader():
        _check_flags(given, changes)
        out = {"out": changes[0]} if changes else {}  # here, -o is short for --out
        results = watched(train, Settings(**{"rules": "lfp"} | out | given))
    _show_results(results)


def _check_flags(given: dict[str, Any], changes: list[str]) -> None:
    from altprop.experiment.errors import InputError

    strangers = [f"--{name.replace('_', '-')}" for name in ("resume", *_FLAGS) if name in given]
    strangers += [f"-o {change}" for change in changes if "=" in change]
    if strangers:
        raise InputError(f"{strangers[0]} goes with a recipe: altprop train RECIPE {strangers[0]}.")


def _train_by_recipe(recipe: str, changes: list[str], given: dict[str, Any]) -> None:
    from altprop.experiment.recipes import find_recipe, load_recipe
    from altprop.experiment.studies.study import train_recipe

    with errors_for_the_reader(), _first_to_speak():
        _check_recipe_flags(given)
        changes = [*changes, *(f"{key}={given[name]}" for name, (key, _) in _FLAGS.items() if name in given)]
        options = {name: given[name] for name in ("name", "overwrite", "resume") if name in given}
        out = Path(given.get("out", "runs"))
        run = watched if _is_first() else _unwatched
        training = run(train_recipe, load_recipe(find_recipe(recipe), changes), out=out, **options)
    _show_training(training)


def _is_first() -> bool:
    """Whether this is the process that speaks for all that train together, on any machine."""
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
        if not _is_first():
            time.sleep(_MOMENT)
        raise


def _unwatched(run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return run(*arguments, **options)


def _check_recipe_flags(given: dict[str, Any]) -> None:
    from altprop.experiment.errors import InputError

    for name, value in given.items():
        if name in _FLAGS or name in (*_OUTPUT, "resume"):
            continue
        remedy = f": write -o {_KEYS[name]}={value}." if name in _KEYS else f"; {_NO_KEYS.get(name, 'leave it out')}."
        raise InputError(f"--{name.replace('_', '-')} goes without a recipe{remedy}")


def _show_results(results: Results) -> None:
    print_results(results)
    if any(run.divergence for run in results.runs):
        raise typer.Exit(1)


def _show_training(training: Training) -> None:
    from altprop.experiment.fits_table import terminal_table
    from altprop.experiment.records.folder import name_of
    from altprop.experiment.training.stopping import exit_status

    if _is_first():
        notes = [note for fit in training.fits for note in (fit.message, *fit.notes) if note]
        print_outcome([terminal_table(training)], notes, None)
        typer.echo(f"Results: {training.folder}")
    if training.interrupted:
        name = name_of(training.folder) if training.folder else "NAME"
        fail(f"Interrupted: go on with it by --resume --name {name}.", code=exit_status())
    if any(fit.status == "diverged" for fit in training.fits):
        raise typer.Exit(1)
