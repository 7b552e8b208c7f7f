"""Search what a recipe leaves open: set the trials up, let workers do them, write down what came out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sqlalchemy import make_url

from altprop.experiment.data.opening import open_data
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import dump_recipe
from altprop.experiment.records.folder import Folder
from altprop.experiment.sweeps.output import write_sweep
from altprop.experiment.sweeps.plan import Plan
from altprop.experiment.sweeps.processes import run_processes
from altprop.experiment.sweeps.queue import Queue
from altprop.experiment.sweeps.results import SweepResults
from altprop.experiment.sweeps.settings import SweepSettings
from altprop.experiment.sweeps.slurm import slurm_script
from altprop.experiment.sweeps.storage import (
    DATABASE,
    STORAGE,
    open_storage,
    said_in_a_line,
    storage_url,
    without_password,
)
from altprop.experiment.sweeps.working import quiet, work_through
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.watching import Watch

_ARRAY = 4  # workers of a Slurm script, if it is not said how many


class SweepInterrupted(KeyboardInterrupt):
    """A sweep was stopped by Ctrl-C; what it had so far was kept, and the same call goes on with it.

    Attributes:
        results: what there is.
    """

    def __init__(self, results: SweepResults) -> None:
        super().__init__("The sweep was interrupted; its results so far were kept.")
        self.results = results


def sweep(settings: SweepSettings, *, watch: Watch | None = None) -> SweepResults:
    """Search what a recipe leaves open. Each trial is done once, whoever is killed on the way.

    A sweep of the same name and the same recipe that is there already is gone on with, and so is one that other
    workers are at.

    Args:
        settings: what to search, in which way, by whom.
        watch: told how it gets on.

    Returns:
        The results. They are also written to the folder ``results.folder``, with the recipe of the best trial and a
        report. ``results.left`` trials have not ended, if others are still at them, or no workers were asked for.

    Raises:
        InputError: (a ValueError) the recipe cannot be searched, there is another sweep of the name, or no worker came
            to the end.
        SweepInterrupted: (a KeyboardInterrupt) Ctrl-C; what there is was written, and is on the exception.
    """
    watch, plan = or_default(watch), settings.plan()
    _check_data(plan)
    with quiet():
        queue, url, folder = _set_up(settings, plan)
        with queue, said_in_a_line(url):
            if settings.slurm:
                _write_script(settings, plan, url)
            watch.begin(plan.trials)
            try:
                _run(settings, queue, url, watch)
            except KeyboardInterrupt:
                raise SweepInterrupted(_finish(queue, url, folder)) from None
            return _finish(queue, url, folder)


def _check_data(plan: Plan) -> None:
    """Open the data once, so that what is missing is said before anything is set up."""
    if any(key.split(".")[0] == "data" for key in plan.space.parts):
        return
    splits, tune_on = open_data(plan.recipe.data), plan.section.tune_on
    if tune_on.startswith("val_") and splits.validation is None:
        raise InputError(
            f"search.tune_on: {tune_on} needs validation data, and {splits.name} has none. Hold some of its training "
            f"data out: -o data.validation=0.1. The test data choose nothing."
        )


def _set_up(settings: SweepSettings, plan: Plan) -> tuple[Queue, str, Folder]:
    url = storage_url(settings.storage) if settings.storage else f"sqlite:///{settings.folder / DATABASE}"
    folder = Folder.join(settings.out, settings.sweep_name, kind="sweep")
    try:
        queue = Queue.create(open_storage(url, create=True), settings.sweep_name, plan)
        folder.write(STORAGE, f"{without_password(url)}\n")
        folder.write("recipe.yaml", dump_recipe(queue.plan.recipe))
    except OSError as error:
        raise InputError(
            f"A sweep cannot be written to {folder.path}: {error.strerror}. Choose another --out."
        ) from error
    except InputError:
        if not folder.resumed:
            shutil.rmtree(folder.path)
        raise
    return queue, url, folder


def _run(settings: SweepSettings, queue: Queue, url: str, watch: Watch) -> None:
    if settings.processes == 1:
        work_through(queue, watch)
    elif settings.processes:
        watch.stage(f"{settings.processes} workers")

        def look() -> None:
            ended = queue.ended()
            watch.reach(ended)
            watch.tell(f"{ended} of {queue.plan.trials} trials have ended")

        run_processes(url, settings.sweep_name, settings.processes, settings.folder, look)


def _finish(queue: Queue, url: str, folder: Folder) -> SweepResults:
    results = SweepResults.of(queue, url, folder.path)
    if results.left < len(results.trials):
        write_sweep(results, queue.study, folder)
    return results


def _write_script(settings: SweepSettings, plan: Plan, url: str) -> None:
    assert settings.slurm is not None  # asked for
    # A file's path must hold on other machines; a database's password stays out.
    target = settings.folder.resolve() if make_url(url).get_backend_name() == "sqlite" else without_password(url)
    text = slurm_script(
        name=settings.sweep_name,
        target=str(target) if isinstance(target, Path) else f"{target}/{settings.sweep_name}",
        file=settings.slurm,
        here=Path.cwd(),
        python=sys.executable,
        workers=min(settings.workers or _ARRAY, plan.trials),
        threads=plan.recipe.machine.threads or 1,
    )
    try:
        settings.slurm.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"The script cannot be written to {settings.slurm}: {error.strerror}.") from error
