"""Training by a recipe into a folder."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from altprop.experiment import InputError, train
from altprop.experiment.recipes import load_recipe
from altprop.experiment.records.facts import git_state
from altprop.experiment.records.training import Training
from altprop.experiment.studies.checkpoints import trained_network
from altprop.experiment.studies.reading import load_trained
from altprop.experiment.studies.study import train_recipe
from altprop.experiment.training.fit import fit
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import StopsAt, poison, tiny, without_report
from tests.experiment.training.toys import toy, weights, without_times


def test_a_training_leaves_all_that_is_needed_to_do_it_again(tmp_path, circles):
    recipe = toy(training={"seeds": (0, 3)}, checkpoints={"every": 2})
    training = train_recipe(recipe, out=tmp_path)
    assert training.folder == tmp_path / "train-backprop-circles-4"
    files = {str(path.relative_to(training.folder)) for path in training.folder.rglob("*") if path.is_file()}
    own = {
        f"{place}/{file}"
        for place in ("last", "last-previous", "best", "epoch-00002")
        for file in ("model.safetensors", "state.safetensors", "state.json", "manifest.json")
    }
    expected = {"altprop.json", "recipe.yaml", "facts.json", "training.json"}
    expected |= {f"seed-{seed}/{file}" for seed in (0, 3) for file in own | {"history.jsonl", "model.safetensors"}}
    logged = {file for file in files if "/tensorboard/" in file}
    assert files - logged - {f for f in files if "last-previous" in f} == {f for f in expected if "previous" not in f}
    assert len(logged) == 2
    assert load_recipe(training.folder / "recipe.yaml") == recipe
    read = Training.load(training.folder)
    assert read.recipe == recipe
    assert [one.history for one in read.fits] == [one.history for one in training.fits]
    facts = json.loads((training.folder / "facts.json").read_text())
    assert {"created", "command", "versions", "git"} == facts.keys()
    alone = fit(recipe, seed=3, splits=circles)
    assert torch.equal(weights(alone), weights(training.fits[1]))
    assert without_times(alone.history) == without_times(training.fits[1].history)
    assert train_recipe(toy(training={"epochs": 1}), out=tmp_path).folder.name == "train-backprop-circles-4-2"


@pytest.mark.parametrize(("which", "epoch"), [("best", "best"), ("last", "last"), ("final", "last")])
@pytest.mark.parametrize("rule", ["lfp", "kp", "dfa"])
def test_a_trained_network_is_loaded_again(rule, which, epoch, tmp_path, circles):
    recipe = toy(rule={"name": rule}, training={"epochs": 4}, optimizer={"lr": 2.0}, track={"loggers": ()})
    training = train_recipe(recipe, out=tmp_path, name="it")
    model, splits, read = load_trained(tmp_path / "it", which=which)
    assert read == recipe
    number = training.fits[0].best_epoch if epoch == "best" else 4
    score = (model(splits.test.x).argmax(1) == splits.test.y).double().mean()
    assert float(score) == pytest.approx(training.fits[0].history[number - 1].test_score)
    assert not model.training


def test_a_training_that_was_stopped_goes_on(tmp_path, circles):
    recipe = toy(training={"seeds": (0, 1), "epochs": 3}, track={"loggers": ("csv",)})
    whole = train_recipe(recipe, out=tmp_path, name="whole")
    stopped = train_recipe(recipe, out=tmp_path, name="it", watch=StopsAt(14))
    assert stopped.interrupted
    assert [one.status for one in stopped.fits] == ["finished", "interrupted"]
    steps = []

    class Counts(Watch):
        def advance(self):
            steps.append(1)

    resumed = train_recipe(recipe, out=tmp_path, name="it", resume=True, watch=Counts())
    assert len(steps) == 24 - 14
    for one, other in zip(resumed.fits, whole.fits, strict=True):
        assert without_times(one.history) == without_times(other.history)
        assert torch.equal(weights(one), weights(other))
    facts = json.loads((tmp_path / "it" / "facts.json").read_text())
    assert len(facts["resumed"]) == 1
    one, other = ((tmp_path / name / "seed-1/csv/metrics.csv").read_text() for name in ("it", "whole"))
    assert len(one.splitlines()) == len(other.splitlines()) == 4


def test_resume_begins_where_there_is_nothing(tmp_path):
    assert train_recipe(toy(), out=tmp_path, name="new", resume=True).fits[0].status == "finished"


def test_another_recipe_does_not_go_on(tmp_path):
    train_recipe(toy(training={"epochs": 1}), out=tmp_path, name="it")
    before = (tmp_path / "it" / "recipe.yaml").read_text()
    with pytest.raises(InputError, match=r"model\.name"):
        train_recipe(toy(model={"name": "5"}), out=tmp_path, name="it", resume=True)
    assert (tmp_path / "it" / "recipe.yaml").read_text() == before


def test_a_folder_is_replaced_only_when_asked_and_if_it_holds_a_training(tmp_path):
    recipe = toy(training={"epochs": 1})
    train_recipe(recipe, out=tmp_path, name="it")
    with pytest.raises(InputError, match="exists"):
        train_recipe(recipe, out=tmp_path, name="it")
    assert train_recipe(toy(), out=tmp_path, name="it", overwrite=True).fits[0].history[-1].epoch == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    for how in ("overwrite", "resume"):
        with pytest.raises(InputError, match="training"):
            train_recipe(recipe, out=tmp_path, name="other", **{how: True})
    assert (tmp_path / "other" / "letter.txt").exists()


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"name": "circels"}},
        {"rule": {"name": "lpf"}},
        {"model": {"name": "lenet"}},
        {"machine": {"accelerator": "cuda"}},
        {"data": {"name": "sine"}, "objective": {"name": "cross-entropy"}},
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(sections, tmp_path):
    with pytest.raises(InputError):
        train_recipe(toy(**sections), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_divergence_is_in_the_results(tmp_path, register, monkeypatch):
    register("poisoned", poison("linear1.weight", 6))
    training = train_recipe(toy(rule={"name": "poisoned"}), out=tmp_path, name="it")
    assert training.fits[0].status == "diverged"
    assert not (tmp_path / "it/seed-0/model.safetensors").exists()
    assert load_trained(tmp_path / "it", which="last")


def test_the_state_of_the_repository_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], check=True)
    assert git_state()["dirty"] is False
    (tmp_path / "new").touch()
    state = git_state()
    assert state["dirty"] is True
    assert len(state["commit"]) == 40


@pytest.mark.parametrize("path", ["", "seed-0", "seed-0/last", "seed-0/model.safetensors"])
def test_its_networks_can_be_explained(path, tmp_path):
    recipe = toy(data={"name": "digits"}, training={"epochs": 1}, track={"loggers": ()})
    train_recipe(recipe, out=tmp_path, name="it")
    network = trained_network(tmp_path / "it" / path)
    assert network.classes == tuple("0123456789")
    assert network.data.name == "digits"
    assert network.module(network.prepare(Image.new("L", (8, 8)))[None]).shape == (1, 10)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="no training by a recipe"):
        load_trained(tmp_path)
    train_recipe(toy(track={"loggers": ()}), out=tmp_path, name="it")
    with pytest.raises(InputError, match="no network of seed 7, but of 0"):
        load_trained(tmp_path / "it", seed=7)
    (tmp_path / "it/seed-0/best/model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="1 bytes"):
        load_trained(tmp_path / "it")


@pytest.mark.parametrize("where", ["", "seed-0", "seed-0/last", "seed-0/model.safetensors"])
def test_a_recipe_in_the_working_directory_is_not_the_networks(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("model: lenet\ndata: mnist-5k\n")
    train_recipe(toy(training={"epochs": 1}), name="it")
    assert trained_network(Path("runs") / "it" / where).name == "it"
    assert trained_network(tmp_path / "runs" / "it" / where).name == "it"


def test_flags_train_where_a_recipe_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("a thesis")
    without_report(train, tiny(out=Path("runs"), name="it"))
    assert trained_network(Path("runs/it")).name == "it"


def test_the_old_training_stays_until_the_new_one_is_done(tmp_path):
    old = train_recipe(toy(training={"epochs": 1}), out=tmp_path, name="it")
    new = toy(training={"epochs": 3}, model={"name": "5"})
    stopped = train_recipe(new, out=tmp_path, name="it", overwrite=True, watch=StopsAt(6))
    assert stopped.interrupted
    assert Training.load(tmp_path / "it").recipe == old.recipe
    done = train_recipe(new, out=tmp_path, name="it", resume=True)
    assert done.folder == tmp_path / "it"
    assert Training.load(tmp_path / "it").recipe == new
    whole = fit(new, seed=0)
    assert torch.equal(weights(done.fits[0]), weights(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
