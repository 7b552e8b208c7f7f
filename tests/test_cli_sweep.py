"""``altprop sweep`` and ``altprop worker``: they say what the library says."""

import pytest
from typer.testing import CliRunner

import altprop.cli
from altprop.experiment.sweeps import SweepResults
from tests.sweepers import RECIPE


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "120")
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)
    fixed = ["-o", "training.epochs=2", "-o", "training.clip=1", "-o", "model.norm=none", "-o", "optimizer.lr=0.5"]

    def call(*words):
        more = [recipe, *fixed, "--out", tmp_path] if words[0] == "sweep" else []
        return CliRunner().invoke(altprop.cli.app, [str(word) for word in (*words, *more)])

    return call


def test_sweep_prints_a_table_and_writes_the_report_it_names(run, tmp_path):
    outcome = run("sweep", "--search", "grid")
    assert outcome.exit_code == 0, outcome.output
    results = SweepResults.load(tmp_path / "sweep-small")
    assert f"{results.best.value:.4g}" in outcome.stdout
    assert "3 complete" in outcome.stdout
    assert f"Report: {tmp_path / 'sweep-small' / 'report.html'}" in outcome.stdout


def test_workers_do_a_sweep_that_was_only_set_up(run, tmp_path):
    outcome = run("sweep", "--search", "random", "--trials", "2", "--workers", "0", "--name", "later")
    assert f"2 of 2 trials have not ended. Workers: altprop worker {tmp_path / 'later'}" in outcome.stdout
    outcome = run("worker", tmp_path / "later")
    assert (outcome.exit_code, outcome.stdout) == (0, "2 trials done; there are none left.\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "--search", "gird"], "--search: Input should be 'grid', 'tpe' or 'random', got 'gird'."),
        (["sweep", "--search", "tpe"], "A search by tpe needs a number of trials: give --trials, or search.trials."),
        (["sweep", "--search", "grid", "-o", "model.activation=relu"], "search.space: there is nothing to search."),
        (["sweep", "--search", "grid", "--grace", "0"], "--grace: "),
        (["worker", "nowhere"], "nowhere is not the folder of a sweep."),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing_behind(run, tmp_path, words, message):
    outcome = run(*words)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["small.yaml"]
