"""The best learning rates that sweeps have found, for each setting."""

from __future__ import annotations

import csv
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.sweeps.results import SweepResults, SweepTrial

RATES = "learning_rates.csv"
"""The file of a sweep's folder that they are in."""


class BestRate(BaseModel):
    """The learning rate of the best trial of a setting.

    Attributes:
        data: the data set.
        model: the network.
        rule: the learning rule, as a label.
        optimizer: its name.
        lr: the learning rate.
        tune_on: what it was chosen by.
        value: what that was.
        sweep: which found it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    rule: str
    optimizer: str
    lr: float
    tune_on: str
    value: float
    sweep: str

    @property
    def setting(self) -> tuple[str, str, str, str]:
        """What it is the best for."""
        return self.data, self.model, self.rule, self.optimizer


def best_rates(results: SweepResults) -> list[BestRate]:
    """For each setting that a sweep met the learning rate of its best complete trial.

    Args:
        results: of the sweep. Where the learning rate is the rule's default, there is none to remember.
    """
    search, best = results.plan.section, dict[tuple[str, ...], BestRate]()
    complete = [trial for trial in results.trials if trial.state == "complete" and trial.value is not None]
    for trial in sorted(complete, key=_value):
        recipe = results.recipe_of(trial)
        data, model, rule, optimizer = setting_of(recipe)
        lr = recipe.optimizer.lr_of(rule)
        if lr is not None:
            rate = BestRate(
                data=data,
                model=model,
                rule=rule,
                optimizer=optimizer,
                lr=lr,
                tune_on=search.tune_on,
                value=_value(trial),
                sweep=results.name,
            )
            best.setdefault(rate.setting, rate)
    return list(best.values())


def setting_of(recipe: Recipe) -> tuple[str, str, str, str]:
    """What a learning rate is remembered for: data, model, rule and optimizer of a recipe.

    Example:
        >>> from altprop.experiment.recipes.schema import RuleSection
        >>> setting_of(Recipe(rule=RuleSection(name="lfp", epsilon=0)))
        ('digits', '256-256', 'lfp:epsilon=0', 'sgd')
    """
    return recipe.data.name, recipe.model.name, recipe.single_rule.label, recipe.optimizer.name


def remembered_rates(out: Path | str = "runs") -> list[BestRate]:
    """The best learning rates of all sweeps in a folder of results: for each setting one, of the latest sweep.

    Args:
        out: the folder.
    """
    files = sorted(Path(out).glob(f"*/{RATES}"), key=lambda file: file.stat().st_mtime)
    return list({rate.setting: rate for file in files for rate in read_rates(file)}.values())


def read_rates(file: Path) -> list[BestRate]:
    """Read the table of a sweep's folder."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [BestRate.model_validate(row) for row in csv.DictReader(lines)]


def _value(trial: SweepTrial) -> float:
    return trial.value if trial.value is not None else float("inf")
