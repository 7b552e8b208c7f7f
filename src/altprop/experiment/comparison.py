"""Train by one rule or by several side by side, on the same batches, and write down what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from altprop.experiment.data.examples import as_splits
from altprop.experiment.errors import InputError
from altprop.experiment.options import check_name
from altprop.experiment.recipes import Recipe, shipped_recipes
from altprop.experiment.recipes.flags import make_recipe
from altprop.experiment.recipes.schema import ALL
from altprop.experiment.records.study import Study
from altprop.experiment.studies.study import run_study
from altprop.experiment.training.watching import Watch


def compare(
    recipe: Recipe | Path | str | None = None,
    *,
    data: Any = None,
    out: Path | str | None = "runs",
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    watch: Watch | None = None,
    **flags: Any,
) -> Study:
    """Train one network by several rules, from the same weights and on the same batches, with several seeds.

    Backprop and the control, Shallow, take part in any case: a rule that does not beat Shallow has taught the hidden
    layers nothing. A network that diverges is marked, and the others go on.

    Args:
        recipe: what to do: a recipe, a file, or the name of one that comes with altprop. Unset: ``compare``, which is
            all rules on the digits.
        data: the name of a data set; or data of your own, as ``(x, y)``, ``((x, y), (x_test, y_test))`` or
            :class:`Splits`.
        out: the folder of all results; None: nothing is written.
        name: of the folder of these, within ``out``. Unset: named for the contents.
        overwrite: whether to replace earlier results of the name.
        resume: go on with earlier results of the name.
        watch: told how it gets on.
        **flags: what to change, as the flags of ``altprop compare`` do: ``rules="lfp,dfa"``, ``epochs=10``.

    Returns:
        The study: its networks, and what they say about each rule. It is also written to the folder ``study.folder``,
        with curves and a report. If it was stopped by Ctrl-C, ``study.interrupted`` says so; ``resume`` goes on.

    Raises:
        InputError: (a ValueError) something is wrong with what was asked for, or the folder exists; nothing was
            trained.

    Example:
        >>> study = compare(data="circles", model="8", rules="lfp", epochs=1, seeds=1, out=None)
        >>> [summary.rule for summary in study.summaries]
        ['backprop', 'lfp', 'shallow']
    """
    made, options = recipe_and_data("compare", recipe, data, flags)
    folder = folder_of(out, name)
    return run_study(made, baselines=True, overwrite=overwrite, resume=resume, watch=watch, **folder, **options)


def train(
    recipe: Recipe | Path | str | None = None,
    *,
    data: Any = None,
    out: Path | str | None = "runs",
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    watch: Watch | None = None,
    **flags: Any,
) -> Study:
    """Train one network by one rule, for each seed.

    Args:
        recipe: as for :func:`compare`. Unset: ``train``, which is LFP on the digits.
        data: as for :func:`compare`.
        out: as for :func:`compare`.
        name: as for :func:`compare`.
        overwrite: as for :func:`compare`.
        resume: as for :func:`compare`.
        watch: as for :func:`compare`.
        **flags: as for :func:`compare`.

    Returns:
        The study, as from :func:`compare`. A network that diverged is among it: see ``study.cells[0].status``.

    Raises:
        InputError: as for :func:`compare`; or there are several rules.
    """
    made, options = recipe_and_data("train", recipe, data, flags)
    if len(made.rules) != 1 or made.rules[0].name == ALL:
        raise InputError(f"To train takes one rule, got {', '.join(rule.label for rule in made.rules)}. Use compare.")
    return run_study(made, overwrite=overwrite, resume=resume, watch=watch, **folder_of(out, name), **options)


def recipe_and_data(
    command: str, recipe: Recipe | Path | str | None, data: Any, flags: dict[str, Any]
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe that a function was given with its flags; and data of the user's own, for :func:`run_study`."""
    start = recipe or shipped_recipes()[command]
    if isinstance(data, str):
        return make_recipe(start, flags=flags | {"data": data}), {}
    splits = None if data is None else as_splits(data)
    return make_recipe(start, flags=flags, own=splits is not None), {"splits": splits}


def folder_of(out: Path | str | None, name: str | None) -> dict[str, Any]:
    """Where results go, for :func:`run_study`."""
    return {"out": None if out is None else Path(out), "name": None if name is None else check_name(name)}
