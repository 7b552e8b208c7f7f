"""What tests of sweeps share: a sweep of small networks, workers as processes of their own, and what must hold."""

import signal
import time
from collections import Counter

import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from altprop.experiment.sweeps import SweepSettings
from altprop.experiment.sweeps import storage as storages
from altprop.experiment.sweeps.queue import PLACE, RETRY_OF, WORKER, Queue
from altprop.experiment.sweeps.storage import open_storage, storage_url
from tests.commands import Command

RECIPE = """
data: {name: circles, validation: 0.2}
model: {name: "8"}
rule: dfa
training: {epochs: 3, batch_size: 100, clip: 1}
track: {loggers: []}
search:
  space:
    optimizer.lr: {low: 0.0001, high: 0.1, log: true}
    model.activation: [relu, tanh, sigmoid]
    model.norm: [none, batch]
    training.clip: [1, 3]
"""
GRID = 4 * 3 * 2 * 2

_PATIENCE = 100


def settings(tmp_path, **changes):
    """Settings of a sweep that is a matter of seconds."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)
    parts = {"recipe": recipe, "search": "grid", "name": "small", "out": tmp_path / "runs", "grace": 3}
    return SweepSettings(**parts | changes)


def queue_of(storage, name="small"):
    """The trials, as a worker of this process would see them, but less patient with a locked file; to be closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storages, "_BUSY_SECONDS", 2)
        return Queue.load(open_storage(storage_url(str(storage)), create=False), name)


def start(target, folder):
    """A worker, as a process of its own."""
    return Command("worker", target, folder=folder)


def wait_for(condition, processes=()):
    """Wait until something holds."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        failed = [process for process in processes if process.status not in (None, 0, -signal.SIGKILL)]
        assert not failed, failed[0].told()
        time.sleep(0.1)


def has_in_hand(queue, process):
    """Whether a worker has a trial in hand, and no lock on SQLite's file, which it keeps while it is stopped."""
    try:
        running = queue.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    except StorageInternalError:
        return False
    return any(str(trial.user_attrs.get(WORKER)).endswith(f":{process.pid}") for trial in running)


def kill_with_a_trial_in_hand(queue, process):
    """SIGKILL for a worker, surely in the middle of a trial: it is stopped first, to have a look."""
    while True:
        wait_for(lambda: has_in_hand(queue, process), [process])
        process.send(signal.SIGSTOP)
        if has_in_hand(queue, process):
            break
        process.send(signal.SIGCONT)
    process.close()


def finish(processes):
    """Wait for workers, which must come to their end by themselves."""
    for process in processes:
        assert process.wait(_PATIENCE) == 0, process.told()


def assert_each_once(queue, places):
    """Every place has exactly one trial that has ended, and each try that failed has one that took its place."""
    trials = queue.study.get_trials(deepcopy=False)
    by_state = Counter(trial.state for trial in trials)
    assert set(by_state) <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}, by_state
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert sorted(trial.user_attrs[PLACE] for trial in ended) == list(range(places))
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL and "fate" not in trial.user_attrs]
    assert sorted(trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs) == sorted(failed)
    return failed
