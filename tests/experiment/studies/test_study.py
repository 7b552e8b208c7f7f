"""Training by a recipe into a folder."""

import json
import multiprocessing
import random
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from altprop.experiment import InputError, compare
from altprop.experiment.explaining.trained import trained_network
from altprop.experiment.recipes import load_recipe
from altprop.experiment.records.facts import git_state
from altprop.experiment.records.study import Study
from altprop.experiment.studies.reading import load_trained
from altprop.experiment.studies.study import run_study
from altprop.experiment.training.fit import fit
from altprop.experiment.training.watching import Watch
from tests.experiment import toys as studies_toys
from tests.experiment.studies import killed
from tests.experiment.toys import StopsAt, poison
from tests.experiment.training.toys import toy, weights, without_times


def test_a_training_leaves_all_that_is_needed_to_do_it_again(tmp_path, circles):
    recipe = toy(training={"seeds": (0, 3)}, checkpoints={"every": 2})
    training = run_study(recipe, out=tmp_path)
    assert training.folder == tmp_path / "train-backprop-circles-4"
    files = {str(path.relative_to(training.folder)) for path in training.folder.rglob("*") if path.is_file()}
    own = {
        f"{place}/{file}"
        for place in ("last", "last-previous", "best", "epoch-00002")
        for file in ("model.safetensors", "state.safetensors", "state.json", "manifest.json")
    }
    expected = {"altprop.json", "recipe.yaml", "facts.json", "study.json"}
    expected |= {"report.html", "curves.svg", "boundaries.svg", "results.csv", "curves.csv"}
    expected |= {
        f"cells/backprop-seed-{seed}/{file}" for seed in (0, 3) for file in own | {"history.jsonl", "model.safetensors"}
    }
    logged = {file for file in files if "/tensorboard/" in file}
    assert files - logged - {f for f in files if "last-previous" in f} == {f for f in expected if "previous" not in f}
    assert len(logged) == 2
    assert load_recipe(training.folder / "recipe.yaml") == recipe
    read = Study.load(training.folder)
    assert read.recipe == recipe
    assert [one.history for one in read.cells] == [one.history for one in training.cells]
    facts = json.loads((training.folder / "facts.json").read_text())
    assert {"created", "command", "versions", "git"} == facts.keys()
    alone = fit(recipe, seed=3, splits=circles)
    assert torch.equal(weights(alone), weights(training.cells[1]))
    assert without_times(alone.history) == without_times(training.cells[1].history)
    assert run_study(toy(training={"epochs": 1}), out=tmp_path).folder.name == "train-backprop-circles-4-2"


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("rule", ["lfp", "kp", "dfa"])
def test_a_trained_network_is_loaded_again(rule, tmp_path, circles):
    recipe = toy(rule={"name": rule}, training={"epochs": 4}, optimizer={"lr": 2.0}, track={"loggers": ()})
    (cell,) = run_study(recipe, out=tmp_path, name="it").cells
    for which, epoch in {"best": cell.best_epoch, "last": 4, "final": 4}.items():
        model, splits, read = load_trained(tmp_path / "it", which=which)
        assert read == recipe
        score = (model(splits.test.x).argmax(1) == splits.test.y).double().mean()
        assert float(score) == pytest.approx(cell.history[epoch - 1].test_score), which
        assert not model.training


@pytest.mark.usefixtures("without_pictures")
def test_a_training_that_was_stopped_goes_on(tmp_path, circles):
    recipe = toy(training={"seeds": (0, 1), "epochs": 3}, track={"loggers": ("csv",)})
    whole = run_study(recipe, out=tmp_path, name="whole")
    stopped = run_study(recipe, out=tmp_path, name="it", watch=StopsAt(14))
    assert stopped.interrupted
    assert [one.status for one in stopped.cells] == ["finished", "interrupted"]
    steps = []

    class Counts(Watch):
        def advance(self):
            steps.append(1)

    resumed = run_study(recipe, out=tmp_path, name="it", resume=True, watch=Counts())
    assert len(steps) == 24 - 14
    for one, other in zip(resumed.cells, whole.cells, strict=True):
        assert without_times(one.history) == without_times(other.history)
        assert torch.equal(weights(one), weights(other))
    facts = json.loads((tmp_path / "it" / "facts.json").read_text())
    assert len(facts["resumed"]) == 1
    one, other = ((tmp_path / name / "cells/backprop-seed-1/csv/metrics.csv").read_text() for name in ("it", "whole"))
    assert len(one.splitlines()) == len(other.splitlines()) == 4


@pytest.mark.usefixtures("without_pictures")
def test_resume_begins_where_there_is_nothing(tmp_path):
    assert run_study(toy(), out=tmp_path, name="new", resume=True).cells[0].status == "finished"


@pytest.mark.usefixtures("without_pictures")
def test_another_recipe_does_not_go_on(tmp_path):
    run_study(toy(training={"epochs": 1}), out=tmp_path, name="it")
    before = (tmp_path / "it" / "recipe.yaml").read_text()
    with pytest.raises(InputError, match=r"model\.name"):
        run_study(toy(model={"name": "5"}), out=tmp_path, name="it", resume=True)
    assert (tmp_path / "it" / "recipe.yaml").read_text() == before


@pytest.mark.usefixtures("without_pictures")
def test_a_folder_is_replaced_only_when_asked_and_if_it_holds_a_study(tmp_path):
    recipe = toy(training={"epochs": 1})
    run_study(recipe, out=tmp_path, name="it")
    with pytest.raises(InputError, match="exists"):
        run_study(recipe, out=tmp_path, name="it")
    assert run_study(toy(), out=tmp_path, name="it", overwrite=True).cells[0].history[-1].epoch == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    for how in ("overwrite", "resume"):
        with pytest.raises(InputError, match="study"):
            run_study(recipe, out=tmp_path, name="other", **{how: True})
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
        run_study(toy(**sections), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("without_pictures")
def test_divergence_is_in_the_results(tmp_path, register, monkeypatch):
    register("poisoned", poison("linear1.weight", 6))
    training = run_study(toy(rule={"name": "poisoned"}), out=tmp_path, name="it")
    assert training.cells[0].status == "diverged"
    assert not (tmp_path / "it/cells/poisoned-seed-0/model.safetensors").exists()
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


@pytest.mark.usefixtures("without_pictures")
def test_its_networks_can_be_explained(tmp_path):
    recipe = toy(data={"name": "digits"}, training={"epochs": 1}, track={"loggers": ()})
    run_study(recipe, out=tmp_path, name="it")
    for path in ("", *(f"cells/backprop-seed-0{inner}" for inner in ("", "/last", "/model.safetensors"))):
        network = trained_network(tmp_path / "it" / path)
        assert network.classes == tuple("0123456789")
        assert network.data.name == "digits"
        assert network.module(network.prepare(Image.new("L", (8, 8)))[None]).shape == (1, 10)


@pytest.mark.usefixtures("without_pictures")
def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match=r"has no study\.json: it is no folder of compare or train"):
        load_trained(tmp_path)
    run_study(toy(track={"loggers": ()}), out=tmp_path, name="it")
    with pytest.raises(InputError, match="no network of seed 7, but of 0"):
        load_trained(tmp_path / "it", seed=7)
    (tmp_path / "it/cells/backprop-seed-0/best/model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="1 bytes"):
        load_trained(tmp_path / "it")


@pytest.mark.filterwarnings("ignore")  # of processes that fork
def test_a_comparison_killed_at_random_moments_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr("altprop.experiment.reports.study.write_report", lambda *_: None)
    context = multiprocessing.get_context("forkserver")
    moments, kills, exit_code = random.Random(0), 0, None
    while exit_code != 0:
        process = context.Process(target=killed.go_on, args=(tmp_path, moments.randint(1, 20)))
        process.start()
        process.join()
        exit_code = process.exitcode
        assert exit_code in (0, -signal.SIGKILL)
        kills += exit_code != 0
    assert kills >= 20, kills
    resumed = compare(killed.RECIPE, out=tmp_path, name="mine", resume=True)
    whole = compare(killed.RECIPE, out=None)
    assert studies_toys.without_times(resumed) == studies_toys.without_times(whole)
    assert resumed.trials == whole.trials
    for one, other in zip(resumed.cells, whole.cells, strict=True):
        assert torch.equal(weights(one), weights(other))


@pytest.mark.usefixtures("without_pictures")
def test_a_recipe_in_the_working_directory_is_not_the_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("model: lenet\ndata: mnist-5k\n")
    run_study(toy(training={"epochs": 1}), name="it")
    for inner in ("", *(f"cells/backprop-seed-0{inner}" for inner in ("", "/last", "/model.safetensors"))):
        assert trained_network(Path("runs") / "it" / inner).name == "it"
        assert trained_network(tmp_path / "runs" / "it" / inner).name == "it"


@pytest.mark.usefixtures("without_pictures")
def test_the_old_training_stays_until_the_new_one_is_done(tmp_path):
    old = run_study(toy(training={"epochs": 1}), out=tmp_path, name="it")
    new = toy(training={"epochs": 3}, model={"name": "5"})
    stopped = run_study(new, out=tmp_path, name="it", overwrite=True, watch=StopsAt(6))
    assert stopped.interrupted
    assert Study.load(tmp_path / "it").recipe == old.recipe
    done = run_study(new, out=tmp_path, name="it", resume=True)
    assert done.folder == tmp_path / "it"
    assert Study.load(tmp_path / "it").recipe == new
    whole = fit(new, seed=0)
    assert torch.equal(weights(done.cells[0]), weights(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
