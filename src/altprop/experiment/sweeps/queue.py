"""The trials of a sweep as a queue in its database, from which many workers take them: none is lost, none done twice.

The sweep has as many *places* as trials. A place is filled by a trial of Optuna; when the worker of a trial dies, that
trial is marked as failed, and another one fills its place. Three things make this hold, whenever a worker is killed:

* a trial is given a sign of life *before* it is claimed, so that there is none that runs without one;
* a claim, and the end of a trial, are single transactions, which only one worker can win;
* a place that nobody fills any more (its worker died, and so did the one that was about to say so) is found and filled
  again. If two workers do so at the same time, the later trial of the two is a double, and is put away before it runs.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from socket import gethostname
from threading import Event, Thread
from typing import Any, Self

from optuna import Study, Trial, create_study, load_study
from optuna.exceptions import DuplicatedStudyError, OptunaError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from altprop.experiment.errors import InputError
from altprop.experiment.sweeps.plan import Plan
from altprop.experiment.sweeps.storage import fail_the_dead

PLAN, WHOLE = "plan", "whole"
"""What a study is told: what the sweep is, and whether all its trials are in the queue."""

PLACE, RETRY_OF, WORKER, FATE = "place", "retry_of", "worker", "fate"
"""What a trial is told: the place it fills, the number of the trial that it replaces, who does it, why it failed."""

ERROR, HANDED_BACK, DOUBLE = "error", "handed back", "double"
"""Fates. A failed trial without one was left by a worker that died."""

MOST_ATTEMPTS = 5
"""How many workers may die of a trial before it is given up."""

_OPEN = (TrialState.WAITING, TrialState.RUNNING)
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Queue:
    """The trials of a sweep; a context manager, after which the connections to the database are closed.

    Args:
        storage: where they are.
        study: Optuna's name for them all.

    Attributes:
        study: Optuna's name for them all.
        plan: what the sweep is.
    """

    def __init__(self, storage: RDBStorage, study: Study) -> None:
        self._storage, self.study = storage, study
        self._id = storage.get_study_id_from_name(study.study_name)
        self.plan = Plan.model_validate(study.user_attrs[PLAN])
        storage.grace_period, storage.heartbeat_interval = self.plan.grace, max(1, self.plan.grace // 5)
        # Trials whose workers died are failed by Optuna, which then tells us of each.
        storage.heartbeat_stale_trial_callback = self._replace

    @classmethod
    def load(cls, storage: RDBStorage, name: str) -> Queue:
        """The trials of a sweep that is there.

        Raises:
            InputError: there is none of this name, or it was not set up to the end.
        """
        try:
            study = load_study(study_name=name, storage=storage)
        except KeyError:
            raise InputError(f"There is no sweep {name!r} in this storage. Start it with `altprop sweep`.") from None
        if not study.user_attrs.get(WHOLE):
            raise InputError(f"The sweep {name!r} is not set up to the end. Give the `altprop sweep` command again.")
        return cls(storage, study)

    @classmethod
    def create(cls, storage: RDBStorage, name: str, plan: Plan) -> Queue:
        """Set up the trials of a sweep; or go on where setting up was stopped, or take those that are there.

        Raises:
            InputError: there is another sweep of this name.
        """
        with suppress(DuplicatedStudyError):
            create_study(study_name=name, storage=storage)
        study = load_study(study_name=name, storage=storage)
        if PLAN not in study.user_attrs:
            if study.get_trials(deepcopy=False):
                raise InputError(f"The storage has a study {name!r} that is no sweep of ours. Choose another --name.")
            study.set_user_attr(PLAN, plan.model_dump(mode="json"))
        queue = cls(storage, study)
        queue.plan.check_same(plan, name)
        queue.fill(plan.points())
        study.set_user_attr(WHOLE, True)
        return queue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections to the database; a use of the queue after this opens them again."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def places(self) -> dict[int, list[FrozenTrial]]:
        """For each place its trials, in the order in which they were made."""
        places: dict[int, list[FrozenTrial]] = defaultdict(list)
        for trial in self.study.get_trials(deepcopy=False):
            places[trial.user_attrs[PLACE]].append(trial)
        return places

    def fill(self, points: Iterable[dict[str, Any]] | None = None) -> int:
        """Put a trial in each place that has none, or none that runs, waits or has ended.

        Args:
            points: the values of the trials of empty places. Unset: no place is empty.

        Returns:
            How many were put.
        """
        places, put = self.places(), 0
        for place, values in enumerate(points if points is not None else [{}] * self.plan.trials):
            trials = places.get(place, [])
            if not trials:
                self.study.enqueue_trial(values, user_attrs={PLACE: place})
            elif is_empty(trials):
                self._replace(self.study, trials[-1])
            else:
                continue
            put += 1
        return put

    def claim(self) -> FrozenTrial | None:
        """Take a trial that waits, if there is one: nobody else gets it."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._storage.record_heartbeat(self._trial_id(trial))
            with suppress(UpdateFinishedTrialError):
                claimed = self._storage.set_trial_state_values(self._trial_id(trial), TrialState.RUNNING)
                if claimed and not self._is_double(trial):
                    self._storage.set_trial_user_attr(self._trial_id(trial), WORKER, f"{gethostname()}:{os.getpid()}")
                    return trial
        return None

    def begin(self, trial: FrozenTrial) -> Trial:
        """The claimed trial, ready to draw its values; the study's sampler is asked for those it was not given."""
        return Trial(self.study, self._trial_id(trial))

    def end(self, trial: FrozenTrial, state: TrialState, value: float | None = None, **attributes: str) -> bool:
        """End a trial.

        Args:
            trial: the one that was claimed.
            state: how it ended.
            value: what it gave; none unless it is complete.
            **attributes: what it is told before.

        Returns:
            Whether it was still ours to end: a worker that was silent for too long may have been taken for dead.
        """
        try:
            for name, text in attributes.items():
                self._storage.set_trial_user_attr(self._trial_id(trial), name, text)
            self.study.tell(trial.number, value, state)
        except (UpdateFinishedTrialError, ValueError):
            if self._now(trial).state in _OPEN:
                raise
            return False
        return True

    def hand_back(self, trial: FrozenTrial) -> None:
        """Give up a claimed trial for another worker to take; it does not count as an attempt."""
        self.disconnect()  # an interrupt may have left a connection in the middle of a transaction
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(self._trial_id(trial), FATE, HANDED_BACK)
            if self._storage.set_trial_state_values(self._trial_id(trial), TrialState.FAIL):
                self._replace(self.study, self._now(trial))

    def take_over(self) -> None:
        """Let others do what was left by workers that are dead."""
        fail_the_dead(self.study)

    def running(self) -> int:
        """How many trials other workers, or dead ones, have in hand."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def ended(self) -> int:
        """How many places are done with."""
        return sum(has_ended(trials) for trials in self.places().values())

    @contextmanager
    def sign_of_life(self, trial: FrozenTrial) -> Iterator[None]:
        """Tell the others, as long as the block lasts, that the trial's worker lives."""
        stop, number = Event(), self._trial_id(trial)

        def beat() -> None:
            while not stop.wait(self._storage.heartbeat_interval):
                # If the database does not answer, there is another chance before we are taken for dead.
                with suppress(OptunaError):
                    self._storage.record_heartbeat(number)

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _trial_id(self, trial: FrozenTrial) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)

    def _now(self, trial: FrozenTrial) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(trial))

    def _replace(self, study: Study, trial: FrozenTrial) -> None:
        """Put another trial in the place of a failed one, with the same values."""
        place = trial.user_attrs[PLACE]
        if is_empty(self.places()[place]):
            study.enqueue_trial(held_values(trial), user_attrs={PLACE: place, RETRY_OF: trial.number})

    def _is_double(self, trial: FrozenTrial) -> bool:
        """Whether an earlier trial fills the place: then put the claimed one away."""
        earlier = [one for one in self.places()[trial.user_attrs[PLACE]] if one.number < trial.number]
        if is_empty(earlier):
            return False
        self._storage.set_trial_user_attr(self._trial_id(trial), FATE, DOUBLE)
        self._storage.set_trial_state_values(self._trial_id(trial), TrialState.FAIL)
        return True


def held_values(trial: FrozenTrial) -> dict[str, Any]:
    """The values of a trial, as Optuna holds them: those it was given, and those that were drawn before it ended."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def is_empty(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a place with these trials has none that waits, runs or has ended."""
    trials = list(trials)
    return not (any(trial.state in _OPEN for trial in trials) or has_ended(trials))


def has_ended(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a place with these trials is done with: one has ended, by an error if need be, or it is given up."""
    trials = list(trials)
    ended = any(trial.state in _ENDED or trial.user_attrs.get(FATE) == ERROR for trial in trials)
    return ended or is_given_up(trials)


def is_given_up(trials: Iterable[FrozenTrial]) -> bool:
    """Whether so many workers have died of the trials of a place that no more are risked."""
    return sum(t.state == TrialState.FAIL and FATE not in t.user_attrs for t in trials) >= MOST_ATTEMPTS
