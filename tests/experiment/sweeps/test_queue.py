"""The queue of trials: whatever dies whenever, each place is filled by one trial that has ended."""

import shutil
import threading
from collections import Counter
from contextlib import ExitStack, suppress

import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from altprop.experiment import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.sweeps.objective import HopelessError, TakenOverError
from altprop.experiment.sweeps.plan import Plan
from altprop.experiment.sweeps.queue import MOST_ATTEMPTS, PLACE, RETRY_OF, Queue, held_values
from altprop.experiment.sweeps.results import SweepResults
from altprop.experiment.sweeps.storage import open_storage
from altprop.experiment.sweeps.working import quiet, work_through
from altprop.experiment.training.watching import Watch
from tests.sweepers import assert_each_once

GRID = {"optimizer.lr": [0.1, 0.01], "model.norm": ["none", "batch"]}
WRITES = ("record_heartbeat", "set_trial_state_values", "set_trial_user_attr", "set_trial_param", "create_new_trial")


class DeadError(BaseException):
    """The worker is dead: it does nothing any more, not even tidy up."""


def plan_of(search="grid", trials=4, space=None, **section):
    recipe = Recipe(data={"validation": 0.2}, search={"space": space or GRID, "prune": False, **section})
    return Plan(recipe=recipe, search=search, trials=trials, grace=1000, created="2030-01-02", versions={})


@pytest.fixture
def house(tmp_path):
    """Opens queues on one database, each as a process of its own would, and closes them."""
    with ExitStack() as opened:
        yield lambda plan=None: opened.enter_context(open_queue(tmp_path, plan))


def open_queue(folder, plan=None):
    storage = open_storage(f"sqlite:///{folder}/sweep.db", create=plan is not None)
    with quiet():
        return Queue.create(storage, "s", plan) if plan else Queue.load(storage, "s")


def silence(queue):
    """Let all that run have been silent for a day."""
    with queue._storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 day')"))


def work_on(queue, objective=lambda trial, recipe: recipe.optimizer.lr or 1.0):
    return work_through(queue, Watch(), objective)


def trials_of(queue):
    return queue.study.get_trials(deepcopy=False)


def test_each_point_of_a_grid_is_done_once(house):
    queue = house(plan_of())
    assert work_on(queue) == 4
    assert assert_each_once(queue, 4) == []
    points = [tuple(trial.params.values()) for trial in trials_of(queue)]
    assert sorted(points) == [(0.01, "batch"), (0.01, "none"), (0.1, "batch"), (0.1, "none")]
    assert [trial.value for trial in trials_of(queue)] == [0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize("search", ["tpe", "random"])
def test_a_search_has_as_many_trials_as_were_asked_for_all_different(house, search):
    queue = house(plan_of(search, 12, {"optimizer.lr": {"low": 0.001, "high": 1.0, "log": True}}))
    work_on(queue)
    assert_each_once(queue, 12)
    assert len({trial.params["optimizer.lr"] for trial in trials_of(queue)}) == 12


def test_a_random_search_is_the_same_whoever_does_it(tmp_path):
    values = []
    for name, turns in (("alone", 1), ("together", 3)):
        (tmp_path / name).mkdir()
        with ExitStack() as opened:
            plan = plan_of("random", 6, {"optimizer.lr": {"low": 0.001, "high": 1.0}})
            queues = [opened.enter_context(open_queue(tmp_path / name, plan)) for _ in range(turns)]
            threads = [threading.Thread(target=work_on, args=(queue,)) for queue in queues]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            values.append({trial.user_attrs[PLACE]: trial.params for trial in trials_of(queues[0])})
    assert values[0] == values[1]


def test_four_workers_at_once_do_no_trial_twice(house):
    plan = plan_of(trials=12, space={"optimizer.lr": [round(0.1 * n, 1) for n in range(1, 13)]})
    queues, done = [house(plan) for _ in range(4)], []
    start = threading.Barrier(4)

    def run(queue):
        start.wait()
        work_on(queue, lambda trial, recipe: done.append(recipe.optimizer.lr) or 1.0)

    threads = [threading.Thread(target=run, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(done) == Counter(plan.space.parts["optimizer.lr"].some())
    assert_each_once(queues[0], 12)


def test_a_plain_sqlite_transaction_would_let_two_take_a_trial(house):
    """Why the lock is taken when a transaction begins: between one worker's look and its change, no other comes in."""
    queue, other = house(plan_of()), house()
    with queue._storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM trials"))
        engine = sqlalchemy.create_engine(other._storage.url, connect_args={"timeout": 0})
        with pytest.raises(sqlalchemy.exc.OperationalError, match=r"locked"), engine.begin() as second:
            second.execute(sqlalchemy.text("UPDATE trials SET state = 'RUNNING'"))
        engine.dispose()


def die_at(monkeypatch, number):
    """Die at the write of this number, before it; every write after it is not done either."""
    count = [0]

    def dying(write):
        def wrapped(self, *arguments, **options):
            count[0] += 1
            if count[0] >= number:
                raise DeadError
            return write(self, *arguments, **options)

        return wrapped

    for name in WRITES:
        monkeypatch.setattr(RDBStorage, name, dying(getattr(RDBStorage, name)))
    monkeypatch.setattr(RDBStorage, "_create_new_trial", dying(RDBStorage._create_new_trial))
    monkeypatch.setattr(RDBStorage, "_set_trial_param", dying(RDBStorage._set_trial_param))
    return count


def test_a_worker_that_dies_at_any_write_loses_nothing(tmp_path):
    """And so does one that dies at any write while it takes over what the first one left."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    open_queue(fresh, plan_of(trials=2, space={"optimizer.lr": [0.1, 0.2]})).__exit__()
    shutil.copytree(fresh, tmp_path / "whole")
    with open_queue(tmp_path / "whole") as queue, pytest.MonkeyPatch.context() as patch:
        writes = die_at(patch, 10**6)
        work_on(queue)
    assert writes[0] >= 10
    for write in range(1, writes[0] + 4):  # to take over takes some more
        folder = tmp_path / str(write)
        shutil.copytree(fresh, folder)
        check_death_at(folder, write)


def check_death_at(folder, write):
    for _ in range(2):
        with open_queue(folder) as queue, pytest.MonkeyPatch.context() as patch:
            silence(queue)
            die_at(patch, write)
            with suppress(DeadError):
                work_on(queue)
    with open_queue(folder) as queue:
        silence(queue)
        work_on(queue)
        trials = trials_of(queue)
        ended = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        assert sorted(trial.user_attrs[PLACE] for trial in ended) == [0, 1]
        assert sorted(trial.params["optimizer.lr"] for trial in ended) == [0.1, 0.2]
        assert all(trial.state.is_finished() for trial in trials)
        assert not queue.running()


def test_setting_up_that_was_stopped_is_gone_on_with(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(DeadError):
            open_queue(tmp_path, plan_of())
    with pytest.raises(InputError, match=r"not set up to the end. Give the `altprop sweep` command again"):
        open_queue(tmp_path)
    with open_queue(tmp_path, plan_of()) as queue:
        work_on(queue)
        assert_each_once(queue, 4)


def test_a_retry_has_the_values_of_the_trial_that_died_and_names_it(house):
    queue = house(plan_of("random", 1, {"optimizer.lr": {"low": 0.001, "high": 1.0}}))
    claimed = queue.claim()
    queue.plan.space.draw(queue.begin(claimed))
    assert queue.claim() is None
    queue.take_over()
    assert queue.running() == 1, "it is not silent yet"
    silence(queue)
    other = house()
    work_on(other)
    first, second = trials_of(queue)
    assert first.state == TrialState.FAIL
    assert second.params == first.params
    assert second.user_attrs[RETRY_OF] == first.number
    (trial,) = SweepResults.of(queue, "sqlite:///x").trials
    assert (trial.number, trial.state) == (1, "complete")
    assert [(one.number, one.reason, one.retried_by) for one in trial.attempts] == [(0, "its worker died", 1)]


def test_a_worker_that_was_taken_for_dead_cannot_end_its_trial(house):
    queue, other = house(plan_of(trials=1, space={"optimizer.lr": [0.1]})), house()
    claimed = queue.claim()
    silence(queue)
    work_on(other, lambda trial, recipe: 1.0)
    assert not queue.end(claimed, TrialState.COMPLETE, 2.0)
    assert not queue.end(claimed, TrialState.FAIL, fate="error")
    queue.hand_back(claimed)
    assert [trial.value for trial in trials_of(queue)] == [None, 1.0]


def test_a_slow_worker_whose_trial_was_taken_over_goes_on_with_the_others(house):
    queue, other = house(plan_of(trials=2, space={"optimizer.lr": [0.1, 0.2]})), house()

    def slow(trial, recipe):
        if trial.number == 0:
            silence(queue)
            other.take_over()
            raise TakenOverError
        return 1.0

    assert work_on(queue, slow) == 2
    assert len(assert_each_once(queue, 2)) == 1


def test_a_double_is_put_away_before_it_runs(house):
    queue = house(plan_of(trials=1, space={"optimizer.lr": [0.1]}))
    queue.study.enqueue_trial({"optimizer.lr": 0.1}, user_attrs={PLACE: 0})
    ran = []
    work_on(queue, lambda trial, recipe: ran.append(trial.number) or 1.0)
    assert ran == [0]
    assert [trial.state for trial in trials_of(queue)] == [TrialState.COMPLETE, TrialState.FAIL]
    (trial,) = SweepResults.of(queue, "sqlite:///x").trials
    assert trial.attempts == ()


def test_a_trial_that_kills_its_workers_is_given_up_and_the_others_are_done(house):
    queue = house(plan_of(trials=2, space={"optimizer.lr": [0.1, 0.2]}))
    for _ in range(MOST_ATTEMPTS):
        while (claimed := queue.claim()).user_attrs[PLACE] != 0:
            queue.hand_back(claimed)
        silence(queue)
        queue.take_over()
    assert work_on(queue) == 1
    assert queue.ended() == 2
    assert [trial.state for trial in SweepResults.of(queue, "sqlite:///x").trials] == ["given up", "complete"]


def test_a_trial_that_is_handed_back_is_no_attempt(house):
    queue = house(plan_of(trials=1, space={"optimizer.lr": [0.1]}))
    for _ in range(MOST_ATTEMPTS + 1):
        queue.hand_back(queue.claim())
    assert work_on(queue) == 1
    (trial,) = SweepResults.of(queue, "sqlite:///x").trials
    assert {one.reason for one in trial.attempts} == {"handed back"}
    assert trial.state == "complete"


def test_ctrl_c_hands_the_trial_back(house):
    queue = house(plan_of())

    def interrupted(trial, recipe):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_on(queue, interrupted)
    assert not queue.running()
    assert work_on(queue) == 4


def test_values_that_cannot_be_trained_end_their_trial_alone(house):
    queue = house(plan_of(trials=3, space={"optimizer.lr": [0.1, 0.2, 0.3]}))

    def objective(trial, recipe):
        if recipe.optimizer.lr == 0.1:
            raise RuntimeError("mat1 and mat2\nmore")
        if recipe.optimizer.lr == 0.2:
            raise HopelessError("diverged at step 7")
        return 1.0

    assert work_on(queue, objective) == 3
    results = SweepResults.of(queue, "sqlite:///x")
    assert [(one.state, one.message) for one in results.trials] == [
        ("failed", "RuntimeError: mat1 and mat2"),
        ("pruned", "diverged at step 7"),
        ("complete", ""),
    ]
    assert results.left == 0
    assert results.best.values == {"optimizer.lr": 0.3}


def test_another_recipe_of_the_same_name_is_refused_by_its_first_difference(house):
    house(plan_of())
    with pytest.raises(
        InputError, match=r"another search.space.model.norm: it has \['none', 'batch'\], and \['none', 'l"
    ):
        house(plan_of(space={"optimizer.lr": [0.1, 0.01], "model.norm": ["none", "layer"]}))
    with pytest.raises(InputError, match=r"another search.executions: it has 1, and 2 was asked for"):
        house(plan_of(executions=2))


def test_a_sweep_that_is_not_there_is_named(house):
    house(plan_of())
    with pytest.raises(InputError, match=r"no sweep 'other' in this storage"):
        Queue.load(house()._storage, "other")


def test_held_values_of_a_trial_that_died_while_it_drew_are_whole(house):
    queue = house(plan_of(trials=1, space={"optimizer.lr": [0.1], "model.norm": ["none"]}))
    trial = queue.begin(queue.claim())
    trial.suggest_categorical("optimizer.lr", [0.1])
    assert held_values(trials_of(queue)[0]) == {"optimizer.lr": 0.1, "model.norm": "none"}
