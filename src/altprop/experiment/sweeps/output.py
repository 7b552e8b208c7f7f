"""The files that a sweep leaves: tables for programs, the recipe of the best trial, a page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study

from altprop.experiment.recipes import dump_recipe
from altprop.experiment.records.folder import Folder
from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.reports.page import render
from altprop.experiment.sweeps.rates import RATES, best_rates
from altprop.experiment.sweeps.results import SweepResults, SweepTrial
from altprop.experiment.sweeps.table import SHOWN, header, notes, ranked, row


def write_sweep(results: SweepResults, study: Study, folder: Folder) -> None:
    """Write what came out of a sweep.

    * ``trials.csv``: a line for each trial; ``learning_rates.csv``: the best learning rate of each setting;
    * ``best.yaml``: the recipe of the best trial, ready to train;
    * ``report.html``: a page that needs no other file, and its pictures as PNG files beside it;
    * ``sweep.json``: all of it, to be read again by :meth:`SweepResults.load`. It comes last.

    Each file is replaced in one go: whoever reads it while a sweep is gone on with finds the old one or the new one.

    Args:
        results: what to write.
        study: what Optuna knows of the trials.
        folder: where to write.
    """
    from altprop.experiment.sweeps.pictures import sweep_pictures  # noqa: PLC0415  (matplotlib is slow to import)

    rates = best_rates(results)
    folder.write("trials.csv", _table([trial_row(results, trial) for trial in results.trials]))
    folder.write(RATES, _table([rate.model_dump() for rate in rates]))
    if results.best_recipe:
        folder.write("best.yaml", dump_recipe(results.best_recipe))
    pictures = sweep_pictures(study, results.plan.section.tune_on)
    for picture in pictures:
        folder.write(f"{picture.name}.png", picture.light)
    page = render(
        "sweep.html",
        results=results.plan,
        title=f"Sweep {results.name}",
        subtitle=f"{results.plan.trials} trials by {results.plan.search}",
        messages=notes(results),
        pictures=pictures,
        facts=_facts(results),
        command=f"altprop train {folder.path / 'best.yaml'}",
        header=header(results),
        rows=[row(results, trial) for trial in ranked(results)[:SHOWN]],
        more=max(0, len(ranked(results)) - SHOWN),
        best=dump_recipe(results.best_recipe) if results.best_recipe else "",
        rates=rates,
    )
    folder.write("report.html", page)
    folder.write(RECORDS["sweep"], results.model_dump_json(indent=2))


def trial_row(results: SweepResults, trial: SweepTrial) -> dict[str, Any]:
    """One trial, as a line of a table for programs."""
    ran = trial.executions
    figures = {name: _mean([one.figures.get(name) for one in ran]) for name in _figure_names(trial)}
    return {
        "trial": trial.trial,
        "number": trial.number,
        "state": trial.state,
        results.plan.section.tune_on: trial.value,
        **trial.values,
        "executions": len(ran),
        **{f"{results.plan.section.tune_on}_seed_{one.seed}": one.value for one in ran},
        **{f"mean_{name}": value for name, value in figures.items()},
        "seconds": round(sum(one.seconds for one in ran), 3),
        "attempts": 1 + len(trial.attempts),
        "message": trial.message,
    }


def _figure_names(trial: SweepTrial) -> list[str]:
    return list(dict.fromkeys(name for one in trial.executions for name in one.figures))


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _facts(results: SweepResults) -> dict[str, str]:
    section, recipe = results.plan.section, results.plan.recipe
    space = {f"searched: {key}": str(entry) for key, entry in section.space.items()}
    return {
        "data": recipe.data.name,
        "network": recipe.model.name,
        "rule": recipe.single_rule.name,
        "tuned on": section.tune_on,
        "networks for each trial": str(section.executions),
        "hopeless trials": "stopped early" if section.prune else "trained to their end",
        "storage": results.storage,
        **space,
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    # Columns that only some rows have, as those of further networks, come where they are first met.
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
