"""Every command that takes its time ends when it is asked to: with what it has, with the right status, and alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from altprop.experiment import Explanations, train
from altprop.experiment.records.study import Study
from altprop.experiment.stress.pruning_results import PruneResults
from altprop.experiment.stress.robustness_results import RobustnessResults

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

    def start(*words):
        program = [sys.executable, "-c", "from altprop.cli import main; main()", *map(str, words)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        process = subprocess.Popen(
            program, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def alive(session):
    """Whether a process of a session is left."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(met, process=None):
    end = time.monotonic() + SECONDS
    while not met():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(process, number):
    """What a process said that was sent a signal, once it has ended as it should."""
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    assert not alive(process.pid)
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_training_keeps_what_is_done_and_says_how_to_go_on(start, tmp_path, number):
    (tmp_path / "it.yaml").write_text(RECIPE)
    process = start("train", "it.yaml", "--name", "it")
    history = tmp_path / "runs" / "it" / "cells" / "backprop-seed-0" / "history.jsonl"
    wait_for(lambda: history.is_file() and len(history.read_text().splitlines()) > 1, process)
    said = ended(process, number)
    assert "Interrupted: go on with it by --resume --name it." in said
    (cell,) = Study.load(tmp_path / "runs" / "it").cells
    assert cell.status == "interrupted" and cell.history
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["it"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_takes_its_workers_with_it(start, tmp_path, number):
    (tmp_path / "it.yaml").write_text(SEARCH)
    process = start("sweep", "it.yaml", "--name", "it", "--search", "grid", "--workers", "2")
    database = tmp_path / "runs" / "it" / "sweep.db"

    def both_run():
        if not (tmp_path / "runs" / "it" / "worker-1.log").exists():
            return False
        with sqlite3.connect(database) as connection:
            return connection.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone() == (2,)

    wait_for(both_run, process)
    if number == signal.SIGKILL:
        process.kill()
        process.wait()
        wait_for(lambda: not alive(process.pid))
        return
    assert "The same command goes on with the sweep" in ended(process, number)
    with sqlite3.connect(database) as connection:  # they were handed back
        states = connection.execute("SELECT state, count(*) FROM trials GROUP BY state ORDER BY state").fetchall()
    logs = "".join(log.read_text() for log in (tmp_path / "runs" / "it").glob("*.log"))
    assert states == [("FAIL", 2), ("WAITING", 2)], logs


def test_a_worker_gives_its_trial_back(start, tmp_path):
    (tmp_path / "it.yaml").write_text(SEARCH)
    assert start("sweep", "it.yaml", "--name", "it", "--search", "grid", "--workers", "0").wait(SECONDS) == 0
    process = start("worker", "runs/it")

    def runs():
        with sqlite3.connect(tmp_path / "runs" / "it" / "sweep.db") as connection:
            return connection.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone() == (1,)

    wait_for(runs, process)
    assert "the trial in hand was given back" in ended(process, signal.SIGHUP)


def test_a_comparison_ends(start, tmp_path):
    process = start("compare", "--data", "circles", "--model", "8", "--epochs", "1000000", "--name", "it")
    wait_for(lambda: list(tmp_path.glob("runs/it/cells/*")), process)
    time.sleep(1)
    assert "Interrupted" in ended(process, signal.SIGTERM)


def test_a_signal_that_is_to_be_ignored_is_ignored(start, tmp_path):
    (tmp_path / "it.yaml").write_text(RECIPE.replace("1000000", "40"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for those it starts
    try:
        process = start("train", "it.yaml", "--name", "it")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for((tmp_path / "runs" / "it").is_dir, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(SECONDS) == 0


RATES = ",".join(f"{n / 5000}" for n in range(5000))
EXAMINATIONS = {
    "prune": (PruneResults, ["runs/net", "--by", "magnitude,random", "--rates", RATES]),
    "robustness": (RobustnessResults, ["runs/net", "--attacks", "fgsm,pgd", "--steps", "1000000"]),
    "explain": (Explanations, ["--model", "runs/net", "--index", ",".join(map(str, range(500)))]),
}


@pytest.mark.parametrize(
    ("command", "number"), [("prune", signal.SIGINT), ("robustness", signal.SIGTERM), ("explain", signal.SIGHUP)]
)
def test_an_examination_keeps_whole_what_is_done_or_nothing(start, tmp_path, command, number):
    results, words = EXAMINATIONS[command]
    train(data="circles", model="8", epochs=1, out=tmp_path / "runs", name="net")
    process = start(command, *words, "--name", "it")
    wait_for(lambda: list((tmp_path / "runs").glob(".it-*")), process)
    said = ended(process, number)
    left = sorted(path.name for path in (tmp_path / "runs").iterdir())
    if "what was done is kept" in said:
        assert left == ["it", "net"]
        assert results.load(tmp_path / "runs" / "it").interrupted
    else:
        assert left == ["net"]
        assert "nothing was written" in said


def test_a_training_in_jax_keeps_what_is_done_and_says_how_to_go_on(start, tmp_path):
    (tmp_path / "it.yaml").write_text(RECIPE)
    process = start("flax", "train", "it.yaml", "--name", "it")
    history = tmp_path / "runs" / "it" / "cells" / "backprop-seed-0" / "history.jsonl"
    wait_for(lambda: history.is_file() and len(history.read_text().splitlines()) > 1, process)
    assert "Interrupted: go on with it by --resume --name it." in ended(process, signal.SIGTERM)
    (cell,) = Study.load(tmp_path / "runs" / "it").cells
    assert cell.status == "interrupted" and cell.history
