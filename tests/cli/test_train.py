"""``altprop train`` with a recipe; its flags are tested with those of compare."""

import json
import subprocess
import sys

import pytest
from lightning_fabric.utilities.rank_zero import rank_zero_only

from altprop.cli import training
from altprop.experiment import train
from altprop.experiment.recipes import find_recipe, load_recipe
from altprop.experiment.studies.reading import read_study
from altprop.experiment.training import progress

QUICK = """\
data: circles
model: 8
rule: lfp
training:
  epochs: 2
  seeds: 2
machine:
  threads: 1
track:
  loggers: []
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return path


def test_a_recipe_is_trained_and_what_was_done_is_shown_and_kept(run, recipe, tmp_path):
    outcome = run("train", recipe, "-o", "optimizer.lr=0.5", "--out", tmp_path / "runs", "--name", "mine")
    assert outcome.exit_code == 0, outcome.stderr
    folder = tmp_path / "runs" / "mine"
    kept = load_recipe(folder / "recipe.yaml")
    assert kept == load_recipe(recipe, ["optimizer.lr=0.5"])
    told = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert [cell["seed"] for cell in told["cells"]] == [0, 1]
    for fit in told["cells"]:
        assert f"{fit['history'][-1]['test_score']:.3f}" in outcome.stdout
    assert "0.5" in outcome.stdout
    assert str(folder) in outcome.stdout


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_says_what_is_wrong(run, recipe, monkeypatch, rank):
    def ended(seconds):
        raise SystemExit(-15)  # by torchrun, once the first process has ended

    monkeypatch.setattr(rank_zero_only, "rank", rank)
    monkeypatch.setattr(training.time, "sleep", ended)
    outcome = run("train", recipe, "-o", "rule.name=lpf")
    assert outcome.exit_code == (-15 if rank else 2)
    assert outcome.stderr.count("Did you mean 'lfp'?") == (0 if rank else 1)


def test_what_is_wrong_in_another_process_alone_is_said_after_a_moment(run, recipe, monkeypatch):
    waited = []
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(training.time, "sleep", waited.append)
    outcome = run("train", recipe, "-o", "rule.name=lpf")
    assert (outcome.exit_code, waited) == (2, [training._MOMENT])
    assert "Did you mean 'lfp'?" in outcome.stderr


def test_the_flags_of_machines_are_keys_of_the_recipe(run, recipe, tmp_path):
    words = ("--precision", "64-true", "--accelerator", "cpu", "--devices", "1", "--track", "sparsity,norms")
    outcome = run("train", recipe, *words, "-o", "training.epochs=1", "--out", tmp_path / "runs", "--name", "mine")
    assert outcome.exit_code == 0, outcome.stderr
    kept = load_recipe(tmp_path / "runs" / "mine" / "recipe.yaml")
    assert (kept.machine.precision, kept.track.metrics) == ("64-true", ("sparsity", "norms"))


def test_a_finished_training_is_not_replaced_unless_asked(run, recipe, tmp_path):
    words = ("train", recipe, "-o", "training.epochs=1", "--out", tmp_path / "runs", "--name", "mine")
    assert run(*words).exit_code == 0
    refused = run(*words)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert run(*words, "--overwrite").exit_code == 0


def test_a_training_that_diverges_says_so(run, recipe, tmp_path):
    changes = ("-o", "optimizer.lr=1e30", "-o", "training.clip=0", "-o", "rule=backprop", "-o", "training.seeds=1")
    outcome = run("train", recipe, *changes, "--out", tmp_path / "runs")
    assert outcome.exit_code == 1
    assert "diverged" in outcome.stdout


BROKEN = {
    "an unknown key": (
        "optimizer:\n  lrr: 0.1",
        "recipe.yaml:2: optimizer.lrr: there is no such key. Did you mean 'lr'?",
    ),
    "an unknown section": (
        "optimiser:\n  lr: 0.1",
        "recipe.yaml:1: optimiser: there is no such key. Did you mean 'opti",
    ),
    "a wrong type": ("training:\n  epochs: many", "recipe.yaml:2: training.epochs: Input should be a valid integer"),
    "a wrong value": (
        "optimizer:\n  name: sdg",
        "recipe.yaml:2: optimizer.name: Input should be 'sgd', 'adam', 'ada",
    ),
    "a key given twice": ("data: digits\ndata: sine", "recipe.yaml:2: data: this key is given twice, first at "),
    "a tab": ("data:\n\tname: digits", "recipe.yaml:2: there is a tab. YAML is indented with spaces."),
    "no YAML": ("data: [digits", "recipe.yaml:1: this is not YAML: "),
    "an unknown rule": ("rule: lpf", "recipe.yaml:1: rule.name: There is no rule 'lpf'. Did you mean 'lfp'?"),
    "an unknown argument": (
        "rule: lfp:epsilom=1",
        "recipe.yaml:1: rule.epsilom: There is no argument of the rule 'lfp'",
    ),
    "an unknown network": (
        "model: lenett",
        "recipe.yaml:1: model.name: There is no model 'lenett'. Did you mean 'lenet'",
    ),
    "an unknown data set": (
        "data: digit",
        "recipe.yaml:1: data.name: There is no data set 'digit'. Did you mean 'digits'",
    ),
    "two lengths": (
        "training:\n  epochs: 1\n  steps: 1",
        "recipe.yaml:3: training.steps: training.epochs is given too: ",
    ),
    "no validation data": (
        "training:\n  monitor: val_loss",
        "recipe.yaml:2: training.monitor: val_loss needs validation",
    ),
    "a network that does not fit": (
        "data: circles\nmodel: lenet",
        "The model 'lenet' takes images of at least 16×16 p",
    ),
    "an objective that does not fit": ("objective: regression", "recipe.yaml:1: objective.name: 'regression' is for "),
    "no file": (None, "There is no file "),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_recipe_is_one_line_and_leaves_no_folder(run, tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    outcome = run("train", path, "--out", tmp_path / "runs")
    assert outcome.exit_code == 2
    (line,) = outcome.stderr.strip().splitlines()
    assert message in line
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_wrong_change_is_named(run, recipe, tmp_path):
    outcome = run("train", recipe, "-o", "optimizer.lrr=1", "--out", tmp_path / "runs")
    assert outcome.exit_code == 2
    assert outcome.stderr.strip() == "altprop: -o optimizer.lrr: there is no such key. Did you mean 'lr'?"


def test_flags_change_a_recipe_too(run, recipe, tmp_path):
    words = ("--rule", "fa", "--epochs", "1", "--out", tmp_path, "--name", "mine")
    outcome = run("train", recipe, *words)
    assert outcome.exit_code == 0, outcome.stderr
    kept = load_recipe(tmp_path / "mine" / "recipe.yaml")
    assert (kept.rule.name, kept.training.epochs, kept.training.seeds) == ("fa", 1, (0, 1))


def test_without_a_recipe_there_is_one_that_comes_with_altprop(run, tmp_path):
    quick = ("--data", "circles", "--model", "8", "--seeds", "1", "--threads", "1")
    assert run("train", *quick, "-o", "training.epochs=1", "--out", tmp_path, "--name", "mine").exit_code == 0
    given = ["data.name=circles", "model.name=8", "training.seeds=1", "machine.threads=1", "training.epochs=1"]
    assert load_recipe(tmp_path / "mine" / "recipe.yaml") == load_recipe(find_recipe("train"), given)


def test_o_is_a_change_and_never_a_folder(run, tmp_path):
    outcome = run("train", "-o", tmp_path)
    assert outcome.exit_code == 2
    assert "a change is written KEY=VALUE" in outcome.stderr


def test_help_shows_recipe_flags_and_changes(run):
    text = run("train", "--help").stdout
    assert "[RECIPE]" in text
    assert "-o optimizer.weight_decay=1e-4" in text


def test_an_interrupted_training_says_how_to_go_on_and_goes_on(run, recipe, tmp_path, monkeypatch):
    class Impatient(progress.Lines):
        """Presses Ctrl-C at the 20th step."""

        left = 20

        def advance(self):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    words = ("train", recipe, "--out", tmp_path / "runs", "--name", "mine")
    with monkeypatch.context() as patch:
        patch.setattr(progress, "Lines", Impatient)
        outcome = run(*words)
    assert outcome.exit_code == 130
    assert "go on with it by --resume --name mine" in outcome.stderr
    again = run(*words, "--resume")
    assert again.exit_code == 0, again.stderr
    told = json.loads((tmp_path / "runs" / "mine" / "study.json").read_text(encoding="utf-8"))
    assert [len(cell["history"]) for cell in told["cells"]] == [2, 2]


def test_launchers_can_start_the_module():
    ended = subprocess.run(
        [sys.executable, "-m", "altprop.cli", "--version"], capture_output=True, text=True, check=False
    )
    assert ended.stdout.startswith("altprop ")


@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_speaks_for_all(monkeypatch, rank):
    """Under a launcher each process runs the command; the tables are printed once."""
    monkeypatch.setattr(rank_zero_only, "rank", rank, raising=False)
    assert training.is_first() is (rank == 0)


KEYS = {
    "classes": (
        "data=drtp-classification", "data.fraction=0.01", "model.name=8-8", "model.activation=tanh",
        "model.output=sigmoid", "model.zero_init=true", "model.frozen=linear[2]", "objective=bce",
        "optimizer.name=rmsprop", "optimizer.alpha=0.9", "rule=dfa", "training.error_clip=0.5", "track.metrics=[gini]",
        "track.top_k=[2]",
    ),
    "numbers": ("data=drtp-regression", "data.fraction=0.05", "model.output=tanh", "training.constrain_weights=true"),
    "spikes": (
        "data=digits", "data.fraction=0.1", "model=lif-8", "model.beta=0.5", "model.reset=zero", "model.noise=0.1",
    ),
    "bounds": (
        "objective.name=bounded-softmax", "objective.lower=0.1", "objective.upper=0.9", "objective.sign_only=true",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_the_command_line_train_as_pythons_do(name, run, recipe, tmp_path):
    changes = KEYS[name]
    words = [word for change in changes for word in ("-o", change)]
    outcome = run("train", recipe, *words, "--seeds", 1, "--out", tmp_path, "--name", name)
    assert outcome.exit_code == 0, outcome.stderr
    told = read_study(tmp_path / name)
    study = train(load_recipe(recipe, changes), seeds=1, out=None)
    assert told.recipe == study.recipe
    (cell,), (own,) = told.cells, study.cells
    figures = [[one.model_copy(update={"seconds": 0.0}) for one in (each.start, *each.history)] for each in (cell, own)]
    assert figures[0] == figures[1]


def test_a_pattern_of_frozen_layers_that_means_nothing_is_told_in_one_line(run, recipe, tmp_path):
    outcome = run("train", recipe, "-o", "model.frozen=linear1,linaer2", "--out", tmp_path)
    assert outcome.exit_code == 2
    assert "model.frozen: There is no layer with parameters called 'linaer2'. Did you mean 'linear2'" in " ".join(
        outcome.stderr.split()
    )
    assert not any(path.is_dir() for path in tmp_path.iterdir())
