"""A worker: takes trials of a sweep until there are none left. There may be as many as one likes, on many machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import OptunaError
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from altprop.experiment.data.examples import Splits
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.sweeps.objective import HopelessError, TakenOverError, run_trial
from altprop.experiment.sweeps.plan import Plan, Search
from altprop.experiment.sweeps.queue import ERROR, PLACE, Queue
from altprop.experiment.sweeps.space import with_values
from altprop.experiment.sweeps.storage import open_storage, said_in_a_line, storage_url
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.stopping import uninterrupted
from altprop.experiment.training.watching import Watch

_STARTUP_TRIALS = 5  # before the first is stopped early, so many must have come to their end
_WARMUP = 0.25  # the part of the training in which none is stopped

Objective = Callable[[optuna.Trial, Recipe], float]


def work(storage: str, name: str, *, watch: Watch | None = None) -> int:
    """Take trials of a sweep until there are none left.

    A trial that another worker has in hand is waited for: should that worker die, its trial is taken over, and starts
    anew.

    Args:
        storage: ``postgresql://user@host/database``, ``sqlite:///file.db``, or the folder of a sweep.
        name: of the sweep.
        watch: told how it gets on.

    Returns:
        How many trials this worker ended.

    Raises:
        InputError: (a ValueError) there is no such sweep, or its data are missing.
        KeyboardInterrupt: the trial in hand was given back for others to take.
    """
    watch = or_default(watch)
    url = storage_url(storage)
    with quiet(), Queue.load(open_storage(url, create=False), name) as queue, said_in_a_line(url):
        watch.begin(queue.plan.trials)
        return work_through(queue, watch)


def work_through(queue: Queue, watch: Watch, objective: Objective | None = None) -> int:
    """Take trials from a queue until there are none left.

    Args:
        queue: of the sweep.
        watch: told how it gets on.
        objective: what a trial of these values gives. Unset: it trains networks.

    Returns:
        How many trials this worker ended.
    """
    ended, objective = 0, objective or _trains(queue.plan)
    prune = MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=_warmup(queue.plan.recipe))
    queue.study.pruner = prune
    while True:
        watch.reach(queue.ended())
        queue.take_over()
        trial = None
        try:
            with uninterrupted():
                trial = queue.claim()
            if trial is not None:
                watch.stage(f"trial {trial.user_attrs[PLACE]} of {queue.plan.trials}")
                ended += _do(queue, trial, objective)
                continue
        except (KeyboardInterrupt, OptunaError, _OurFaultError):
            if trial is not None:
                with uninterrupted():
                    queue.hand_back(trial)
            raise
        if queue.running():
            watch.stage("waiting for other workers")
            time.sleep(min(1.0, queue.plan.grace / 5))
        elif not queue.fill():
            return ended


def _do(queue: Queue, claimed: FrozenTrial, objective: Objective) -> bool:
    """Run a trial; whether it ended in our hands."""
    plan = queue.plan
    queue.study.sampler = _sampler(plan.search, claimed.user_attrs[PLACE])
    with queue.sign_of_life(claimed):
        try:
            trial = queue.begin(claimed)
            value = objective(trial, with_values(plan.recipe, plan.space.draw(trial)))
            return queue.end(claimed, TrialState.COMPLETE, value)
        except HopelessError as error:
            return queue.end(claimed, TrialState.PRUNED, message=str(error))
        except TakenOverError:
            return False
        except (OptunaError, _OurFaultError):
            raise
        except Exception as error:  # whatever these values bring about, the other trials are to go on
            return queue.end(claimed, TrialState.FAIL, message=_line(error), fate=ERROR)


class _OurFaultError(InputError):
    """Something is wrong that other values do not mend."""


def _trains(plan: Plan) -> Objective:
    """What a trial gives: it trains networks, on data that are opened once."""
    opened: dict[DataSection, Splits] = {}

    def objective(trial: optuna.Trial, recipe: Recipe) -> float:
        if recipe.data not in opened:
            opened.clear()
            opened[recipe.data] = _open(recipe.data, plan)
        return run_trial(trial, recipe, opened[recipe.data])

    return objective


def _open(section: DataSection, plan: Plan) -> Splits:
    try:
        return open_data(section)
    except InputError as error:
        if any(key.split(".")[0] == "data" for key in plan.space.parts):
            raise
        raise _OurFaultError(str(error)) from error


def _sampler(search: Search, place: int) -> BaseSampler:
    """What draws the values of a trial.

    Its seed is the trial's place: two workers must not draw the same, and a random search is the same with any number
    of workers.
    """
    if search == "tpe":
        # Values that are being tried elsewhere count as bad, or many workers would all try the same.
        return TPESampler(seed=place, multivariate=True, constant_liar=True)
    return RandomSampler(seed=place)


def _warmup(recipe: Recipe) -> int:
    return max(1, round(_WARMUP * (recipe.training.epochs or 1)))


def _line(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, InputError) else f"{type(error).__name__}: {lines[0]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log of what it does."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
