"""Every command that takes its time ends when it is asked to: with what it has, with the right status, and alone."""

import signal
import sqlite3
import time

import pytest

from altprop.experiment import Explanations, train
from altprop.experiment.records.study import Study
from altprop.experiment.stress.pruning_results import PruneResults
from altprop.experiment.stress.robustness_results import RobustnessResults
from tests.commands import Command

RECIPE = """
data: circles
model: 8
training: {epochs: 1000000, batch_size: 50}
checkpoints: {every_steps: 20}
track: {loggers: []}
"""
SEARCH = RECIPE + "search: {space: {optimizer.lr: [0.1, 0.01]}, tune_on: loss, prune: false}\n"
SECONDS = 240


@pytest.fixture
def start(tmp_path):
    """Start a command in a session of its own; whatever is left of it at the end is killed."""
    started = []

    def start(*words, ignored=()):
        started.append(Command(*words, folder=tmp_path, ignored=ignored))
        return started[-1]

    yield start
    for command in started:
        command.close()


def wait_for(met, command=None):
    end = time.monotonic() + SECONDS
    while not met():
        assert command is None or command.status is None, command.told()
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(command, number):
    """What a command said that was sent a signal, once it has ended as it should."""
    command.send(number)
    assert command.wait(SECONDS) == 128 + number, command.told()
    assert "Traceback" not in command.told()
    assert not command.is_alive()
    return command.told()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_training_keeps_what_is_done_and_says_how_to_go_on(start, tmp_path, number):
    (tmp_path / "it.yaml").write_text(RECIPE)
    command = start("train", "it.yaml", "--name", "it")
    history = tmp_path / "runs" / "it" / "cells" / "backprop-seed-0" / "history.jsonl"
    wait_for(lambda: history.is_file() and len(history.read_text().splitlines()) > 1, command)
    said = ended(command, number)
    assert "Interrupted: go on with it by --resume --name it." in said
    (cell,) = Study.load(tmp_path / "runs" / "it").cells
    assert cell.status == "interrupted" and cell.history
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["it"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_takes_its_workers_with_it(start, tmp_path, number):
    (tmp_path / "it.yaml").write_text(SEARCH)
    command = start("sweep", "it.yaml", "--name", "it", "--search", "grid", "--workers", "2")
    database = tmp_path / "runs" / "it" / "sweep.db"

    def both_run():
        if not (tmp_path / "runs" / "it" / "worker-1.log").exists():
            return False
        with sqlite3.connect(database) as connection:
            return connection.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone() == (2,)

    wait_for(both_run, command)
    if number == signal.SIGKILL:
        command.send(signal.SIGKILL)
        wait_for(lambda: not command.is_alive())
        return
    assert "The same command goes on with the sweep" in ended(command, number)
    with sqlite3.connect(database) as connection:  # they were handed back
        states = connection.execute("SELECT state, count(*) FROM trials GROUP BY state ORDER BY state").fetchall()
    logs = "".join(log.read_text() for log in (tmp_path / "runs" / "it").glob("*.log"))
    assert states == [("FAIL", 2), ("WAITING", 2)], logs


def test_a_worker_gives_its_trial_back(start, tmp_path):
    (tmp_path / "it.yaml").write_text(SEARCH)
    assert start("sweep", "it.yaml", "--name", "it", "--search", "grid", "--workers", "0").wait(SECONDS) == 0
    command = start("worker", "runs/it")

    def runs():
        with sqlite3.connect(tmp_path / "runs" / "it" / "sweep.db") as connection:
            return connection.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone() == (1,)

    wait_for(runs, command)
    assert "the trial in hand was given back" in ended(command, signal.SIGHUP)


def test_a_comparison_ends(start, tmp_path):
    command = start("compare", "--data", "circles", "--model", "8", "--epochs", "1000000", "--name", "it")
    wait_for(lambda: list(tmp_path.glob("runs/it/cells/*")), command)
    time.sleep(1)
    assert "Interrupted" in ended(command, signal.SIGTERM)


def test_a_signal_that_is_to_be_ignored_is_ignored(start, tmp_path):
    (tmp_path / "it.yaml").write_text(RECIPE.replace("1000000", "40"))
    command = start("train", "it.yaml", "--name", "it", ignored=[signal.SIGHUP])  # as nohup does
    wait_for((tmp_path / "runs" / "it").is_dir, command)
    command.send(signal.SIGHUP)
    assert command.wait(SECONDS) == 0


RATES = ",".join(f"{n / 5000}" for n in range(5000))
EXAMINATIONS = {
    "prune": (PruneResults, ["runs/net", "--by", "magnitude,random", "--rates", RATES]),
    "robustness": (RobustnessResults, ["runs/net", "--attacks", "fgsm,pgd", "--steps", "1000000"]),
    "explain": (Explanations, ["--model", "runs/net", "--index", ",".join(map(str, range(500)))]),
}


@pytest.mark.parametrize(
    ("which", "number"), [("prune", signal.SIGINT), ("robustness", signal.SIGTERM), ("explain", signal.SIGHUP)]
)
def test_an_examination_keeps_whole_what_is_done_or_nothing(start, tmp_path, which, number):
    results, words = EXAMINATIONS[which]
    train(data="circles", model="8", epochs=1, out=tmp_path / "runs", name="net")
    command = start(which, *words, "--name", "it")
    wait_for(lambda: list((tmp_path / "runs").glob(".it-*")), command)
    said = ended(command, number)
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    if "what was done is kept" in said:
        assert left == ["it", "net"]
        assert results.load(tmp_path / "runs" / "it").interrupted
    else:
        assert left == ["net"]
        assert "nothing was written" in said


def test_a_training_in_jax_keeps_what_is_done_and_says_how_to_go_on(start, tmp_path):
    (tmp_path / "it.yaml").write_text(RECIPE)
    command = start("flax", "train", "it.yaml", "--name", "it")
    history = tmp_path / "runs" / "it" / "cells" / "backprop-seed-0" / "history.jsonl"
    wait_for(lambda: history.is_file() and len(history.read_text().splitlines()) > 1, command)
    assert "Interrupted: go on with it by --resume --name it." in ended(command, signal.SIGTERM)
    (cell,) = Study.load(tmp_path / "runs" / "it").cells
    assert cell.status == "interrupted" and cell.history
