"""Studies: a network for each rule and seed of a recipe, trained one after the other, with a folder of all of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save

from altprop.experiment.data.examples import Splits
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.rules import left_out, recipe_of_cell, with_rules_for
from altprop.experiment.records.facts import write_facts
from altprop.experiment.records.files import DamagedError
from altprop.experiment.records.folder import Folder, plain_name
from altprop.experiment.records.machine import threads
from altprop.experiment.records.study import STUDY, WEIGHTS, Cell, Study, cell_folder
from altprop.experiment.registry import REFERENCE
from altprop.experiment.training.fit import checked_splits, fit_job
from altprop.experiment.training.framework import TORCH, Framework
from altprop.experiment.training.job import Job, check
from altprop.experiment.training.machine import Alone, Machine
from altprop.experiment.training.rates import best_rate, held_out, trial_jobs, try_rate
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.timing import step_times
from altprop.experiment.training.watching import Watch

_Made = TypeVar("_Made")


def run_study(
    recipe: Recipe,
    *,
    baselines: bool = False,
    out: Path | None = Path("runs"),
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    splits: Splits | None = None,
    watch: Watch | None = None,
    framework: Framework = TORCH,
) -> Study:
    """Train a network for each rule and seed of a recipe, into a folder.

    The folder holds ``recipe.yaml``, the recipe with every default filled in; ``facts.json``: the versions of the
    packages, the state of the git repository, the command; ``study.json``: this function's result, written anew after
    each network; for each network a folder such as ``cells/lfp-seed-0`` with its checkpoints, ``history.jsonl``,
    ``model.safetensors`` (the network at the end, without its rule) and what loggers write; and at the end the report,
    its pictures, ``results.csv`` and ``curves.csv``.

    Args:
        recipe: what to do.
        baselines: whether backprop and the control take part in any case.
        out: the folder of all results; None: nothing is written.
        name: of the folder of these, within ``out``. Unset: named for the contents, with a number if that is taken.
        overwrite: whether to replace an earlier study of the name.
        resume: go on with an earlier study of the name from its last good checkpoints; begin if there is none.
        splits: what to train on, in the place of the data that the recipe names.
        watch: told of each step.
        framework: what trains.

    Returns:
        The study. If it was interrupted, by Ctrl-C or SIGTERM, ``study.interrupted`` says so, and ``resume`` goes on
        with it. A network that diverged is marked, and the others go on.

    Raises:
        InputError: the recipe cannot be done, or the folder is taken; nothing was written.
        KeyboardInterrupt: it was interrupted before there was anything to keep.
    """
    with threads(recipe.machine.threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        own = splits is not None
        splits = checked_splits(recipe, splits)
        if own:
            recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"name": splits.name})})
        for why in left_out(recipe, splits.task).values():
            warnings.warn(why, stacklevel=2)
        recipe = with_rules_for(recipe, splits.task, baselines=baselines)
        jobs = {
            rule.label: Job(recipe_of_cell(recipe, rule), splits, recipe.training.seeds[0]) for rule in recipe.rules
        }
        for job in jobs.values():
            check(job)
        machine = framework.machine(recipe.machine)
        with ExitStack() as stack:
            begin = partial(_begun, recipe, splits, machine, framework)
            if out is not None:
                opened = Folder.open(
                    out,
                    name or plain_name(default_name(recipe, splits, framework.name)),
                    kind="study",
                    numbered=name is None,
                    overwrite=overwrite,
                    resume=resume,
                    resumable=True,
                )
                study, folder = _of_the_first(machine, lambda: begin(stack.enter_context(opened)))
            else:
                study, folder = begin(None)
            watch = or_default(watch)
            return _Run(study, jobs, splits, machine, framework, resume, watch, caught, folder).whole()


def default_name(recipe: Recipe, splits: Splits, framework: str = "torch") -> str:
    """What the folder of a study is called, unless it is given a name."""
    what = "compare" if len(recipe.rules) > 1 else f"train-{recipe.single_rule.label}"
    return f"{'flax-' * (framework == 'jax')}{what}-{splits.name}-{recipe.model.name}"


def _begun(
    recipe: Recipe, splits: Splits, machine: Machine, framework: Framework, folder: Folder | None
) -> tuple[Study, Folder | None]:
    study = Study(
        framework=framework.name,
        recipe=recipe,
        data=DataFacts.of(splits),
        objective=Job(recipe, splits, 0).objective_name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=framework.versions(machine),
        folder=None if folder is None else folder.path,
    )
    if folder is None:
        return study, None
    try:
        earlier = Study.load(folder.path) if (folder.path / STUDY).is_file() else None
    except DamagedError as error:  # all that it says is in checkpoints, but for the rates that were tried
        earlier, notes = None, (f"{error} It was written again.",)
        study = study.model_copy(update={"notes": notes})
    if earlier is not None and earlier.framework != study.framework:
        raise InputError(
            f"{folder.path} is of {earlier.framework}, and {study.framework} cannot go on with it. Take another --name."
        )
    write_facts(folder, recipe, study.versions)
    if earlier is not None:
        # With fewer seeds than before, the networks of the others are left out.
        seeds = set(recipe.training.seeds)
        kept = {name: getattr(earlier, name) for name in ("created", "trials", "step_times", "notes")}
        cells = tuple(cell for cell in earlier.cells if cell.seed in seeds)
        study = study.model_copy(update=kept | {"cells": cells})
    folder.write(STUDY, study.as_json())
    return study, folder


@dataclass
class _Run:
    """A study under way."""

    study: Study
    jobs: dict[str, Job]
    splits: Splits
    machine: Machine
    framework: Framework
    resume: bool
    watch: Watch
    caught: list[warnings.WarningMessage]
    folder: Folder | None
    done: int = 0

    def whole(self) -> Study:
        """Do what is left of the study, and write it down."""
        try:
            self._time_steps(self._trials())
            self._train()
        except KeyboardInterrupt:
            if self.study.folder is None and not (self.study.cells or self.study.trials):
                raise
        self._keep()
        self._report()
        if self.folder is not None and self.machine.is_global_zero and not self.study.interrupted:
            self.study = self.study.model_copy(update={"folder": self.folder.publish()})
        self.machine.barrier()
        return self.study

    def _trials(self) -> list[Job]:
        """The rates that are to be tried yet."""
        grid = self.study.recipe.optimizer.lr_grid
        if not grid:
            return []
        splits, tried = held_out(self.splits), {(one.rule, one.lr) for one in self.study.trials}
        jobs = [one for job in self.jobs.values() for one in trial_jobs(job, grid, splits)]
        return [job for job in jobs if (job.label, job.lr) not in tried]

    def _time_steps(self, trials: list[Job]) -> None:
        """Time a step of each rule, and try learning rates."""
        steps = [job.all_steps for job in trials]
        cells = len(self.study.seeds) * sum(job.all_steps for job in self.jobs.values())
        self.watch.begin(cells + sum(steps))
        # What is shared with other processes or devices cannot be timed side by side, nor what JAX compiles.
        timed = isinstance(self.machine, Alone) and self.framework is TORCH
        if self.study.compares and not self.study.step_times and timed:
            self.watch.stage("timing a step of each rule")
            reference = self.jobs.get(REFERENCE) or next(iter(self.jobs.values())).with_rule(REFERENCE)
            times = step_times(self.jobs, reference, self.machine.device)
            self.study = self.study.model_copy(update={"step_times": times})
        for job in trials:
            self.watch.stage(f"{job.label}, trying a learning rate of {job.lr:g}")
            trial = try_rate(job, self.machine, self.watch, self.done, self.framework)
            self.study = self.study.model_copy(update={"trials": (*self.study.trials, trial)})
            self.watch.reach(self._after(job))
            self._keep()

    def _train(self) -> None:
        for seed, rule in product(self.study.seeds, self.study.recipe.rules):
            job = Job(recipe_of_cell(self.study.recipe, rule, self._chosen(rule.label)), self.splits, seed)
            self.watch.stage(f"{rule.label}, seed {seed}")
            cell = self._cell(job)
            self.study = self.study.with_cell(cell)
            if cell.status == "interrupted":
                return
            self.watch.reach(self._after(job))
            self._keep()

    def _chosen(self, label: str) -> float | None:
        tried = [trial for trial in self.study.trials if trial.rule == label]
        return best_rate(tried, self.splits.task) if tried and self.study.recipe.optimizer.lr_grid else None

    def _cell(self, job: Job) -> Cell:
        folder = None if self.study.folder is None else cell_folder(self.study.folder, job.label, job.seed)
        cell = fit_job(
            job,
            self.machine,
            folder=folder,
            resume=self.resume,
            watch=self.watch,
            on_epoch=None,
            before=self.done,
            framework=self.framework,
        )
        if self.folder and folder and self.machine.is_global_zero and cell.status != "diverged":
            self.folder.write(f"{folder.relative_to(self.folder.path).as_posix()}/{WEIGHTS}", weights_of(cell))
        return cell

    def _after(self, job: Job) -> int:
        self.done += job.all_steps
        return self.done

    def _keep(self) -> None:
        notes = dict.fromkeys((*self.study.notes, *(str(one.message) for one in self.caught)))
        self.study = self.study.model_copy(update={"notes": tuple(notes)})
        if self.folder is not None and self.machine.is_global_zero:
            self.folder.write(STUDY, self.study.as_json())
        self.machine.barrier()

    def _report(self) -> None:
        if self.folder is None or not self.machine.is_global_zero:
            return
        # It draws pictures, which takes long to import; and the way from studies to reports is the only one back up.
        from altprop.experiment.reports.study import write_report  # noqa: PLC0415

        try:
            self.watch.stage("writing the report")
            with self.folder.files() as place:
                write_report(self.study, self.splits, place)
        except KeyboardInterrupt:
            with self.folder.files() as place:
                write_report(self.study, self.splits, place)


def weights_of(cell: Cell) -> bytes:
    """The weights of a trained network, as a file of safetensors."""
    assert cell.model is not None
    return save({name: tensor.detach().contiguous().clone() for name, tensor in cell.model.state_dict().items()})


def _of_the_first(machine: Machine, make: Callable[[], _Made]) -> _Made:
    """What the first process makes, in all of them; an error in the first is one in all."""
    made: Any = None
    if machine.is_global_zero:
        try:
            made = make()
        except InputError as error:
            made = error
    made = machine.broadcast(made)
    if isinstance(made, InputError):
        raise made
    result: _Made = made
    return result
