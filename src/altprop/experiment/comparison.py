"""Train by one rule or by several side by side, on the same batches, and write down what came out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from typing import Literal

from torch import nn

from altprop import targets
from altprop.experiment.data.dataset import Dataset
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.data.memory import load_data
from altprop.experiment.data.names import parse_data
from altprop.experiment.errors import InputError
from altprop.experiment.networks.spiking import check_task
from altprop.experiment.objectives import DEFAULT_OBJECTIVE
from altprop.experiment.old_training import Job, train_network
from altprop.experiment.output import write_report, write_results
from altprop.experiment.records.folder import RESULTS, Folder, results_folder
from altprop.experiment.records.machine import check_device, threads, versions
from altprop.experiment.registry import REFERENCE
from altprop.experiment.results import Results, Run, Trial
from altprop.experiment.search import best_rate, try_rate
from altprop.experiment.seeding import seeded
from altprop.experiment.settings import ALL, Settings
from altprop.experiment.training.timing import step_times
from altprop.experiment.training.watching import Watch

_KINDS = {"compare": "comparison", "train": "training by flags"}


class Interrupted(KeyboardInterrupt):
    """An experiment was stopped by Ctrl-C; what it had so far was kept.

    Attributes:
        results: what there is.
    """

    def __init__(self, results: Results) -> None:
        super().__init__("The experiment was interrupted; its results so far were kept.")
        self.results = results


def compare(settings: Settings | None = None, *, data: Dataset | None = None, watch: Watch | None = None) -> Results:
    """Train one network by several rules, from the same weights and on the same batches, with several seeds.

    Backprop and the control, Shallow, take part in any case: a rule that does not beat Shallow has taught the hidden
    layers nothing. A run that diverges is marked, and the others go on.

    Args:
        settings: what to train, and how; by default all rules on the digits.
        data: a data set of your own, in place of the one that the settings name.
        watch: told how it gets on.

    Returns:
        The results. They are also written to the folder ``results.folder``, with curves and a report, unless
        ``settings.out`` is None.

    Raises:
        InputError: (a ValueError) the settings do not fit the data, or the folder exists; nothing was trained.
        Interrupted: (a KeyboardInterrupt) Ctrl-C; what there is was written, and is on the exception.
    """
    return _run("compare", settings or Settings(), data, watch or Watch())


def train(settings: Settings, *, data: Dataset | None = None, watch: Watch | None = None) -> Results:
    """Train one network by one rule, and keep its weights.

    Args:
        settings: as for :func:`compare`, with a single rule.
        data: as for :func:`compare`.
        watch: as for :func:`compare`.

    Returns:
        The results, as from :func:`compare`; the folder also holds the weights, ``model.pt``. A run that diverged is
        among them: see ``results.runs[0].divergence``.

    Raises:
        InputError: as for :func:`compare`.
        Interrupted: as for :func:`compare`.
    """
    if len(settings.rules) != 1 or ALL in settings.rules:
        raise InputError(f"To train takes one rule, got {', '.join(settings.rules)}. Use compare for several.")
    return _run("train", settings, data, watch or Watch())


@dataclass
class _Record:
    """What there is so far, so that nothing is lost when the experiment is stopped."""

    step_ratios: dict[str, float] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    models: dict[tuple[str, int], nn.Module] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False


def _run(command: Literal["compare", "train"], settings: Settings, data: Dataset | None, watch: Watch) -> Results:
    check_device(settings.device)
    rule = f"-{settings.rules[0]}" if command == "train" else ""
    default = f"{command}{rule}-{data.name if data else parse_data(settings.data)[0]}-{settings.model}"
    with results_folder(settings, default, kind=_KINDS[command]) as folder:
        data = (data or load_data(settings.data)).to(settings.device)
        if settings.task == "reconstruction":
            data = data.reconstruction()
        check_task(settings.model, data.task)
        settings = settings.with_rules_for(data.task, baselines=command == "compare")
        with threads(settings.threads):
            record = _train_all(settings, data, watch)
            used = versions(settings.device)
        results = Results(
            command=command,
            settings=settings,
            objective=settings.objective or DEFAULT_OBJECTIVE[data.task],
            data=DataFacts.of(data),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=used,
            **vars(record),
        )
        if folder is not None:
            _write(results, data, folder, watch)
    if results.interrupted:
        raise Interrupted(results)
    return results


def _write(results: Results, data: Dataset, folder: Folder, watch: Watch) -> None:
    try:
        watch.stage("writing the report")
        write_results(results, folder.path)
        write_report(results, data, folder.path)
    except KeyboardInterrupt:
        results.interrupted = True
        write_results(results, folder.path)
        write_report(results, data, folder.path)
    finally:
        # Hours of training are not to be lost for a Ctrl-C in the last second, or for a picture that fails.
        if (folder.path / RESULTS).exists():
            results.folder = folder.publish()


def _train_all(settings: Settings, data: Dataset, watch: Watch) -> _Record:
    record = _Record()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for rule in settings.rules:
            _try_once(Job(settings, data, rule, settings.seeds[0], settings.lr_of(rule)))
        try:
            _train_into(record, settings, data, watch)
        except KeyboardInterrupt:
            if not (record.runs or record.trials):
                raise
            record.interrupted = True
    record.notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    return record


def _try_once(job: Job) -> None:
    """Take two samples forward and back, so that what does not fit is named before the first step."""
    x, y = job.data.x_train[:2], job.data.y_train[:2]
    model = job.model()
    try:
        with seeded(job.rule_seed), job.make_rule().attach(model), targets(y):
            job.objective()(model(x), y).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, TypeError, ValueError) as error:
        what = f"the model {job.settings.model!r} on {job.data.name} with the rule {job.rule!r}"
        raise InputError(f"Cannot train {what}: {error}") from error


def _train_into(record: _Record, settings: Settings, data: Dataset, watch: Watch) -> None:
    jobs = {rule: Job(settings, data, rule, settings.seeds[0], settings.lr_of(rule)) for rule in settings.rules}
    part = data.hold_out() if settings.lr_grid else data
    trials = [replace(job, data=part, lr=lr) for job in jobs.values() for lr in settings.lr_grid]
    steps = len(settings.seeds) * sum(job.steps for job in jobs.values()) + sum(job.steps for job in trials)
    watch.begin(steps)
    watch.stage("timing a step of each rule")
    times = step_times(jobs | {REFERENCE: replace(next(iter(jobs.values())), rule=REFERENCE)})
    record.step_ratios = {rule: times[rule] / times[REFERENCE] for rule in jobs}
    done = 0
    for job in trials:
        watch.stage(f"{job.rule}, trying a learning rate of {job.lr:g}")
        record.trials.append(try_rate(job, watch))
        watch.reach(done := done + job.steps)
    for seed, rule in product(settings.seeds, settings.rules):
        rates = [trial for trial in record.trials if trial.rule == rule]
        job = replace(jobs[rule], seed=seed, lr=best_rate(rates, data.task) if rates else jobs[rule].lr)
        watch.stage(f"{rule}, seed {seed}")
        _keep(record, job, *train_network(job, watch))
        watch.reach(done := done + job.steps)


def _keep(record: _Record, job: Job, run: Run, model: nn.Module) -> None:
    if run.epochs or not run.interrupted:
        record.runs.append(run)
        record.models[job.rule, job.seed] = model.eval()
    if run.interrupted:
        raise KeyboardInterrupt
