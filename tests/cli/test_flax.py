"""``altprop flax train``: the recipes and flags of ``altprop train``."""

import pytest

from altprop.experiment.records.study import Study

SHORT = ("--data", "circles", "--model", "4", "--batch-size", "250", "--epochs", "2")


def test_flags_and_changes_are_keys_of_a_recipe(run, tmp_path, monkeypatch):
    monkeypatch.setattr("altprop.experiment.reports.study.write_report", lambda *_: None)
    words = ("--rules", "lfp,fa", "--seeds", "1", "-o", "track.metrics=[bp_cosine]", "--out", tmp_path, "--name", "it")
    done = run("flax", "train", *SHORT, *words)
    assert done.exit_code == 0, done.stderr
    study = Study.load(tmp_path / "it")
    assert (study.framework, study.rules, len(study.cells)) == ("jax", ("lfp", "fa"), 2)
    words_of_it = "--data circles --model 4 --rules lfp,fa --epochs 2 --batch-size 250 --track bp_cosine"
    assert study.command == f"altprop flax train {words_of_it}"
    assert f"Report: {tmp_path / 'it' / 'report.html'}" in done.stdout
    again = run("flax", "train", *SHORT, *words)
    assert (again.exit_code, "--resume" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dropout", "0.5"), "model.dropout: this key has no meaning under JAX: its networks are fully connected"),
        (("--devices", "2"), "machine.devices: this key has no meaning under JAX: it trains on one device"),
        (("-o", "training.accumulate=2"), "training.accumulate: this key has no meaning under JAX"),
        (("--rules", "lpf"), "--rules: There is no rule 'lpf'. Did you mean 'lfp'?"),
        (("--device", "cuda:99"), "machine.accelerator: JAX has no device 'cuda:99'"),
    ],
)
def test_what_jax_cannot_do_is_one_line(run, tmp_path, words, message):
    done = run("flax", "train", *SHORT, *words, "--out", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.strip().startswith(f"altprop: {message}")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_help_shows_what_jax_can_do(run):
    said = run("flax", "train", "--help").stdout
    assert all(flag in said for flag in ("--data", "--rules", "--device", "--resume", "--lr-grid"))
    assert not any(flag in said for flag in ("--dropout", "--devices", "--num-nodes", "--strategy", "--precision"))


def test_a_training_that_diverges_ends_with_status_1(run, tmp_path, monkeypatch):
    monkeypatch.setattr("altprop.experiment.reports.study.write_report", lambda *_: None)
    words = ("--data", "sine", "--model", "4", "--rule", "backprop", "--lr", "1e9", "--clip", "0", "--epochs", "1")
    done = run("flax", "train", *words, "--out", tmp_path)
    assert done.exit_code == 1
    assert "diverged at step" in done.stdout
