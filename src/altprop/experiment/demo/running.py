"""Every rule on one network, a network that backprop cannot train, and why a digit was misread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from altprop.experiment.data.examples import Splits, as_splits, whole
from altprop.experiment.demo.results import BY, EXPLAINED, RULES, STEPS, Demo, DemoSettings
from altprop.experiment.explaining.output import write_explanations
from altprop.experiment.explaining.results import Explained, Explanations
from altprop.experiment.explaining.running import explain
from altprop.experiment.explaining.settings import ExplainSettings
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.flags import make_recipe
from altprop.experiment.records.folder import Folder
from altprop.experiment.records.study import WEIGHTS, Study, cell_folder
from altprop.experiment.studies.study import run_study
from altprop.experiment.training.fit import checked_splits
from altprop.experiment.training.watching import Watch

_COMPOSITES = ("gradient", "epsilon", "epsilon_plus_flat", "epsilon_gamma_box")
_OTHERS = 3


def demonstrate(settings: DemoSettings, *, data: Any = None, watch: Watch | None = None) -> Demo:
    """Show in two minutes what altprop is for.

    The folder holds ``report.html``, with all of it on one page, and a folder for each part, as ``altprop compare`` and
    ``altprop explain`` write them.

    Args:
        settings: how long, and where to.
        data: in the place of the digits, as for :func:`~altprop.experiment.compare`: images of 16×16 or more.
        watch: told how it gets on.

    Raises:
        InputError: the folder exists; nothing was written.
        KeyboardInterrupt: it was interrupted; nothing was written.
    """
    from altprop.experiment.demo.page import write_page  # noqa: PLC0415  (matplotlib is slow to import)

    watch = watch or Watch()
    recipes = {part: _recipe(name, settings) for part, name in ((RULES, "demo"), (STEPS, "demo-steps"))}
    splits = checked_splits(recipes[RULES], None if data is None else as_splits(data))
    place = Folder.open(settings.out, settings.name, kind="demo", overwrite=settings.overwrite)
    with place as folder:
        rules, steps = (_study(recipes[part], splits, folder.path, part, watch) for part in (RULES, STEPS))
        explanations, misread = _explained(rules, splits, folder.path, settings, watch)
        demo = Demo(settings, rules, steps, explanations, misread, folder.path)
        watch.stage("writing the page")
        write_page(demo, folder.path / "report.html")
        return replace(demo, folder=folder.publish())


def _recipe(name: str, settings: DemoSettings) -> Recipe:
    chosen = {"epochs": settings.epochs, "seeds": settings.seeds}
    return make_recipe(name, flags={key: value for key, value in chosen.items() if value is not None})


def _study(recipe: Recipe, splits: Splits, out: Path, name: str, watch: Watch) -> Study:
    study = run_study(recipe, baselines=True, out=out, name=name, splits=splits, watch=watch)
    if study.interrupted:
        raise KeyboardInterrupt
    return study


def _explained(
    rules: Study, splits: Splits, out: Path, settings: DemoSettings, watch: Watch
) -> tuple[Explanations, Explained | None]:
    """Explain the first sample that is misread, and the first of other classes that are not."""
    assert rules.folder is not None
    wrong, right = _read(rules.models()[BY], splits)
    weights = cell_folder(rules.folder, BY, rules.seeds[0]) / WEIGHTS
    asked = ExplainSettings(
        model=str(weights), index=(*wrong[:1], *right[: _OTHERS + (not wrong)]), composites=_COMPOSITES, out=None
    )
    watch.stage("explaining")
    made = explain(asked, data=splits if rules.has_own_data else None)
    # It is written for the place where it will be.
    there = settings.out / settings.name / weights.relative_to(out)
    explanations = made.model_copy(
        update={
            "settings": asked.model_copy(update={"model": str(there), "out": Path("runs")}),
            "network": made.network.replace(str(rules.folder), str(settings.out / settings.name / RULES)),
        }
    )
    (out / EXPLAINED).mkdir()
    write_explanations(explanations, out / EXPLAINED)
    return explanations, explanations.inputs[0] if wrong else None


def _read(network: nn.Module, splits: Splits) -> tuple[list[int], list[int]]:
    """The test samples that a network misreads; and of those that it reads, the first of each other class."""
    x, y = whole(splits.test)
    with torch.no_grad():
        predicted = torch.cat([network(part) for part in torch.split(x, 256)]).argmax(1)
    wrong = (predicted != y).nonzero().flatten().tolist()
    seen, right = {int(y[number]) for number in wrong[:1]}, list[int]()
    for number in (predicted == y).nonzero().flatten().tolist():
        if int(y[number]) not in seen:
            seen.add(int(y[number]))
            right.append(number)
    return wrong, right
