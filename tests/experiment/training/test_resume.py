"""Checkpoints: what survives a kill, a damaged file, another recipe."""

import json
import multiprocessing
import random
import shutil
import signal
import time

import pytest
import torch

from altprop.experiment import InputError
from altprop.experiment.registry import RULES
from altprop.experiment.training.fit import fit
from tests.experiment.toys import StopsAt, poison
from tests.experiment.training import killed
from tests.experiment.training.toys import same_files, toy, weights, without_times

KILLS = 20


@pytest.mark.filterwarnings("ignore")  # of processes that fork
def test_a_training_killed_at_random_moments_ends_as_if_it_had_not_been(tmp_path):
    context = multiprocessing.get_context("forkserver")
    folder, moments, kills = tmp_path / "killed", random.Random(0), 0
    whole = fit(killed.RECIPE, seed=0, splits=killed.SPLITS, folder=tmp_path / "whole")
    while kills < KILLS:
        begun = context.Event()
        process = context.Process(target=killed.train, args=(folder, begun))
        process.start()
        assert begun.wait(60)
        time.sleep(moments.uniform(0, whole.seconds / 15))
        process.kill()
        process.join()
        if process.exitcode == 0:
            shutil.rmtree(folder)  # it was done already: once more, until there were enough
        else:
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    resumed = fit(killed.RECIPE, seed=0, splits=killed.SPLITS, folder=folder, resume=True)
    assert resumed.status == whole.status == "finished"
    assert torch.equal(weights(resumed), weights(whole))
    assert without_times(resumed.history) == without_times(whole.history)
    assert resumed.best_epoch == whole.best_epoch
    for name in ("last", "best", "epoch-00004", "epoch-00012"):
        for file in ("model", "state"):
            assert same_files(folder / name / f"{file}.safetensors", tmp_path / "whole" / name / f"{file}.safetensors")
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(13))
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


@pytest.mark.parametrize("steps", [5, 8])
@pytest.mark.parametrize("rule", [*RULES, "sign-symmetric:batchwise"])
@pytest.mark.filterwarnings("ignore:DRTP teaches", "ignore:LFP scales")
def test_every_rule_goes_on_where_it_was_stopped(rule, steps, circles, tmp_path):
    name, _, mode = rule.partition(":")
    recipe = toy(
        rule={"name": name} | ({"mode": mode} if mode else {}),
        model={"name": "4-4", "activation": "tanh", "dropout": 0.3, "norm": "batch"},
        training={"epochs": 3, "batch_size": 251, "error_clip": 0.05, "constrain_weights": True},
        track={"loggers": ()},
    )
    whole = fit(recipe, seed=0, splits=circles)
    stopped = fit(recipe, seed=0, splits=circles, folder=tmp_path, watch=StopsAt(steps))
    assert stopped.status == "interrupted"
    resumed = fit(recipe, seed=0, splits=circles, folder=tmp_path, resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    assert without_times(resumed.history) == without_times(whole.history)


def test_more_epochs_go_on_with_a_training_that_is_done(circles, tmp_path):
    done = fit(toy(), seed=0, splits=circles, folder=tmp_path)
    again = fit(toy(), seed=0, splits=circles, folder=tmp_path, resume=True)
    assert without_times(again.history) == without_times(done.history)
    assert torch.equal(weights(again), weights(done))
    longer = fit(toy(training={"epochs": 4}), seed=0, splits=circles, folder=tmp_path, resume=True)
    whole = fit(toy(training={"epochs": 4}), seed=0, splits=circles)
    assert torch.equal(weights(longer), weights(whole))


def damage(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif how == "removed":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["truncated", "corrupted", "removed"])
@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(file, how, circles, tmp_path):
    recipe = toy(checkpoints={"every_steps": 3}, track={"loggers": ()})
    whole = fit(recipe, seed=0, splits=circles, folder=tmp_path)
    damage(tmp_path / "last" / file, how)
    resumed = fit(recipe, seed=0, splits=circles, folder=tmp_path, resume=True)
    assert str(tmp_path / "last" / file) in resumed.notes[0]
    assert str(tmp_path / "last-previous") in resumed.notes[1]
    assert torch.equal(weights(resumed), weights(whole))
    assert without_times(resumed.history) == without_times(whole.history)


def test_without_a_good_checkpoint_nothing_is_trained(circles, tmp_path):
    fit(toy(training={"epochs": 1}), seed=0, splits=circles, folder=tmp_path)
    for manifest in tmp_path.rglob("manifest.json"):
        damage(manifest, "truncated")
    with pytest.raises(InputError, match="no checkpoint that can be used"):
        fit(toy(), seed=0, splits=circles, folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"lr": 0.5}}, "optimizer.lr"),
        ({"rule": {"name": "fa"}}, "rule.name"),
        ({"rule": {"name": "lfp", "epsilon": 0.1}}, "rule.epsilon"),
        ({"model": {"name": "5"}}, "model.name"),
        ({"training": {"batch_size": 100}}, "training.batch_size"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(changes, words, circles, tmp_path):
    sections = {"rule": {"name": "lfp"}, "track": {"loggers": ()}}
    fit(toy(**sections), seed=0, splits=circles, folder=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=words):
        fit(toy(**sections | changes), seed=0, splits=circles, folder=tmp_path, resume=True)
    assert sorted(tmp_path.rglob("*")) == before
    other = toy(**sections, summary="new", machine={"threads": 1}, checkpoints={"every": 1})
    assert fit(other, seed=0, splits=circles, folder=tmp_path, resume=True).status == "finished"


def test_an_earlier_training_leaves_no_checkpoints_behind(circles, tmp_path):
    fit(toy(checkpoints={"every": 1}), seed=0, splits=circles, folder=tmp_path)
    fit(toy(training={"epochs": 1}), seed=1, splits=circles, folder=tmp_path)
    assert not (tmp_path / "epoch-00002").exists()
    assert json.loads((tmp_path / "last" / "state.json").read_text())["seed"] == 1


def test_divergence_leaves_the_last_good_checkpoint(circles, tmp_path, register):
    register("poisoned", poison("linear1.weight", 6))
    recipe = toy(rule={"name": "poisoned"}, checkpoints={"every_steps": 1})
    assert fit(recipe, seed=0, splits=circles, folder=tmp_path).status == "diverged"
    assert json.loads((tmp_path / "last" / "state.json").read_text())["step"] == 5


def test_the_best_checkpoint_is_of_the_best_epoch(circles, tmp_path):
    trained = fit(toy(training={"epochs": 6}, optimizer={"lr": 3.0}), seed=0, splits=circles, folder=tmp_path)
    assert json.loads((tmp_path / "best" / "state.json").read_text())["epoch"] == trained.best_epoch + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_a_last_checkpoint(number, circles, tmp_path):
    before = signal.getsignal(number)

    class Signals(StopsAt):
        def press(self):
            signal.raise_signal(number)

    stopped = fit(toy(), seed=0, splits=circles, folder=tmp_path, watch=Signals(6))
    assert stopped.status == "interrupted"
    assert json.loads((tmp_path / "last" / "state.json").read_text())["step"] == 6
    assert signal.getsignal(number) is before
    shutil.rmtree(tmp_path / "best")
    resumed = fit(toy(), seed=0, splits=circles, folder=tmp_path, resume=True)
    assert torch.equal(weights(resumed), weights(fit(toy(), seed=0, splits=circles)))
