"""Sweeps by many workers on PostgreSQL, of which some are killed."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import sqlalchemy

from altprop.experiment.sweeps import SweepResults, sweep
from altprop.experiment.sweeps.storage import open_storage, storage_url
from tests.sweepers import (
    GRID,
    assert_each_once,
    finish,
    kill_with_a_trial_in_hand,
    queue_of,
    settings,
    start,
    wait_for,
)

_NUMBERS = count()


@pytest.fixture
def database():
    """The URL of an empty database."""
    server, name = os.environ["ALTPROP_TEST_POSTGRES"], f"sweeps{next(_NUMBERS)}"
    engine = sqlalchemy.create_engine(storage_url(server), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


def test_a_grid_with_two_of_four_workers_killed_has_each_point_once(database, tmp_path):
    asked = settings(tmp_path, storage=database, workers=0)
    assert sweep(asked).left == GRID == 48
    with queue_of(database) as queue:
        workers = [start(f"{database}/small", tmp_path) for _ in range(4)]
        wait_for(lambda: queue.ended() >= 4, workers)
        for worker in workers[:2]:
            kill_with_a_trial_in_hand(queue, worker)
        finish(workers[2:])
        assert len(assert_each_once(queue, GRID)) == 2
    results = sweep(asked)  # there is nothing left to do but to write the report
    points = {tuple(trial.values.values()) for trial in results.trials}
    assert len(points) == GRID
    retried = [attempt for trial in results.trials for attempt in trial.attempts]
    assert [attempt.reason for attempt in retried] == ["its worker died"] * 2
    assert all(attempt.retried_by is not None for attempt in retried)
    assert SweepResults.load(results.folder) == results
    assert (results.folder / "report.html").exists()


def test_a_search_of_which_all_workers_were_killed_completes_when_it_is_resumed(database, tmp_path):
    asked = settings(tmp_path, storage=database, search="tpe", trials=GRID, workers=0)
    sweep(asked)
    with queue_of(database) as queue:
        workers = [start(f"{database}/small", tmp_path) for _ in range(4)]
        wait_for(lambda: queue.ended() >= 4, workers)
        for worker in workers:
            kill_with_a_trial_in_hand(queue, worker)
        assert 0 < queue.ended() < GRID
        results = sweep(asked.model_copy(update={"workers": 2}))
        assert len(assert_each_once(queue, GRID)) == 4
    assert results.left == 0
    assert len(results.trials) == GRID


def test_two_sweeps_may_set_up_an_empty_database_at_the_same_time(database):
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_storage(storage_url(database), create=True), range(4)))
    assert all(storage.get_all_studies() == [] for storage in opened)
    for storage in opened:
        storage.engine.dispose()
