"""Training in JAX: as in torch to rounding, in the same folder, and gone on with bit for bit."""

import os
import shutil
import signal
import subprocess
import sys

import jax
import pytest
import torch

from altprop.experiment import ExplainSettings, InputError, Recipe, explain
from altprop.experiment import train as train_in_torch
from altprop.experiment.records.study import STUDY, Study
from altprop.experiment.reports.finding import find
from altprop.experiment.stress.pruning import prune
from altprop.experiment.stress.settings import PruneSettings
from altprop.experiment.studies.reading import kept_networks, load_trained
from altprop.experiment.training.checkpoints import read_checkpoint
from altprop.flax.networks import RULES
from altprop.flax.training import train
from tests.experiment.toys import StopsAt, own_data, tiny, without_report


def flags(**changes):
    return tiny(activation="tanh", track="bp_cosine,sparsity,norms,weight_alignment") | changes


def weights_of(study):
    return [cell.model.state_dict() for cell in study.cells]


def same(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def figures_of(study):
    """All figures of a study but for the seconds."""
    return [one.model_dump(exclude={"seconds"}) for cell in study.cells for one in cell.epochs]


def close(ours, theirs):
    """Whether figures are the same to rounding, and undefined where the others are."""
    assert {name for name in ours if ours[name] is None} == {name for name in theirs if theirs[name] is None}
    defined = {name: value for name, value in theirs.items() if value is not None}
    assert {name: ours[name] for name in defined} == pytest.approx(defined, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": "backprop", "optimizer": "adam", "validation": 0.2},
        {"rules": "lfp:epsilon=0.1,minimum_scale=0.01", "activation": "step", "model": "6-5"},
        {"rules": "shallow", "clip": 0.01, "objective": "mse"},
        {"rules": "backprop", "data": "sine", "activation": "gelu", "clip": 0},
        {"rules": "lfp", "task": "reconstruction"},
    ],
    ids=lambda changes: "-".join(f"{value}" for value in changes.values()),
)
def test_by_what_draws_nothing_the_history_is_that_of_torch(changes):
    ours, theirs = train(**flags(**changes)), train_in_torch(**flags(**changes))
    assert [cell.status for cell in ours.cells] == [cell.status for cell in theirs.cells] == ["finished"]
    for one, other in zip(figures_of(ours), figures_of(theirs), strict=True):
        close(one.pop("tracked"), other.pop("tracked"))
        close(one, other)
    for one, other in zip(weights_of(ours), weights_of(theirs), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-5) for name in one)


def test_schedules_seeds_and_what_stops_a_training_are_those_of_torch():
    recipe = Recipe(
        data={"name": "circles", "validation": 0.2},
        model="4",
        optimizer={"name": "adamw", "weight_decay": 0.1, "betas": (0.8, 0.9)},
        scheduler={"name": "cosine", "warmup": 0.2},
        objective={"label_smoothing": 0.1},
        training={"epochs": 6, "batch_size": 250, "seeds": (3, 1), "early_stopping": {"patience": 1, "min_delta": 1}},
        track={"loggers": (), "top_k": (2,)},
    )
    ours, theirs = train(recipe, out=None), train_in_torch(recipe, out=None)
    assert [cell.seed for cell in ours.cells] == [3, 1]
    assert [cell.status for cell in ours.cells] == [cell.status for cell in theirs.cells] == ["stopped early"] * 2
    for one, other in zip(figures_of(ours), figures_of(theirs), strict=True):
        assert one["tracked"] == {"test_top_2": 1.0} == other["tracked"]
        assert one["lr"] == other["lr"]
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)


def test_every_rule_trains_and_is_compared_with_backprop():
    study = train(**flags(rules="all", epochs=1))
    assert study.rules == tuple(sorted(RULES, key=study.rules.index))
    assert set(study.rules) == set(RULES)
    last = {cell.rule: cell.history[-1].tracked for cell in study.cells}
    assert last["backprop"]["bp_cosine"] == pytest.approx(1)
    assert last["shallow"]["bp_cosine/linear1"] == 0
    assert last["shallow"]["sparsity/linear1"] == 1
    for rule, found in last.items():
        assert found["bp_cosine/linear2"] == pytest.approx(1) or rule == "lfp"
        assert (found["weight_alignment"] is not None) == (rule in {"fa", "kp", "sign-symmetric"})
    assert last["sign-symmetric"]["weight_alignment"] > 0.7 > abs(last["fa"]["weight_alignment"])


def test_digits_are_learned_beyond_the_control():
    study = train(rules="fa,kp,dfa,lfp,shallow", epochs=15, track=(), seeds=1, out=None)
    scores = {summary.rule: summary.test.mean for summary in study.summaries}
    assert min(scores[rule] for rule in ("fa", "kp", "dfa", "lfp")) >= 0.94


def test_rates_are_chosen_on_what_is_held_out():
    asked = flags(rules="backprop", lr_grid="0.3,1e-6", track=())
    ours, theirs = train(**asked), train_in_torch(**asked)
    assert [trial.score for trial in ours.trials] == [trial.score for trial in theirs.trials]
    assert ours.cells[0].lr == theirs.cells[0].lr


def test_data_of_ones_own_are_trained_on():
    study = train(**flags(data=own_data(), rules="drtp", batch_size=10))
    assert study.data.name == "my own"
    assert study.command.startswith("altprop.flax.training.train(Recipe(")


@pytest.mark.parametrize(("rules", "optimizer", "stop"), [("kp,dfa", "adam", 7), ("fa", "sgd", 4), ("lfp", "sgd", 1)])
def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path, rules, optimizer, stop):
    asked = flags(rules=rules, optimizer=optimizer, epochs=3, out=tmp_path)
    whole = without_report(train, asked | {"name": "whole"})
    stopped = without_report(train, asked | {"name": "mine", "watch": StopsAt(stop)})
    assert stopped.interrupted
    assert stopped.cells[-1].status == "interrupted"
    resumed = without_report(train, asked | {"name": "mine", "resume": True})
    assert figures_of(resumed) == figures_of(whole)
    assert same(weights_of(resumed), weights_of(whole))


KILLED = """
import os, sys
from altprop.experiment.training.watching import Watch
from altprop.flax.training import train

class Killed(Watch):
    def __init__(self, steps): self.left = steps
    def advance(self):
        self.left -= 1
        if not self.left: os.kill(os.getpid(), 9)

train({recipe!r}, out={out!r}, name="mine", resume=True, watch=Killed({steps}))
"""


def test_a_training_that_was_killed_goes_on_bit_for_bit(tmp_path):
    same_programs = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}  # as in this process
    same_programs["JAX_COMPILATION_CACHE_DIR"] = str(jax.config.jax_compilation_cache_dir)
    (tmp_path / "it.yaml").write_text(
        "data: circles\nmodel: 4\nrule: kp\ntraining: {epochs: 4, batch_size: 250}\n"
        "checkpoints: {every_steps: 3}\ntrack: {loggers: []}\n"
    )
    recipe = str(tmp_path / "it.yaml")
    program = KILLED.format(recipe=recipe, out=str(tmp_path), steps=8)  # at the end of an epoch
    killed = subprocess.run(
        [sys.executable, "-c", program], env=same_programs, capture_output=True, check=False, timeout=200
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = without_report(train, {"recipe": recipe, "out": tmp_path, "name": "mine", "resume": True})
    whole = train(recipe, out=None)
    assert figures_of(resumed) == figures_of(whole)
    assert same(weights_of(resumed), weights_of(whole))


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The same study in both frameworks."""
    out = tmp_path_factory.mktemp("runs")
    for name, run in (("torch", train_in_torch), ("jax", train)):
        run(**flags(rules="lfp", seeds=2, out=out, name=name))
    return out


def test_the_folder_is_that_of_torch(studies):
    ours, theirs = (
        {path.relative_to(studies / name).as_posix() for path in (studies / name).rglob("*") if path.is_file()}
        for name in ("jax", "torch")
    )
    assert ours == theirs
    study = Study.load(studies / "jax")
    assert study.framework == "jax"
    assert {"jax", "flax", "optax", "torch"} <= study.versions.keys()
    assert study.command == (
        "altprop flax train --data circles --model 4 --activation tanh --epochs 2 --batch-size 250 --seeds 2 "
        "--track bp_cosine,sparsity,norms,weight_alignment"
    )
    assert study.command in (studies / "jax" / "report.html").read_text()


def test_a_report_shows_both_and_what_they_differ_in(studies):
    sources = {source.name: source for source in find([studies]).sources}
    assert {name: source.kind for name, source in sources.items()} == {"jax": "jax", "torch": "train"}
    ours, theirs = (sources[name].entries[0].settings for name in ("jax", "torch"))
    assert {key for key in ours if ours[key] != theirs[key]} == {"framework"}


@pytest.mark.parametrize("which", ["final", "best", "last"])
def test_the_networks_are_loaded_in_torch_with_the_scores_they_had(studies, which):
    study = Study.load(studies / "jax")
    kept = kept_networks(studies / "jax", which=which)
    for cell in study.cells:
        epoch = cell.best_epoch if which == "best" else len(cell.history)
        reached = kept.score(kept.networks[cell.rule, cell.seed])
        assert reached == pytest.approx(cell.history[epoch - 1].test_score, abs=0.004)  # of 500, two near the border


def test_the_networks_are_explained_and_pruned(studies):
    assert (
        explain(ExplainSettings(model=str(studies / "jax"), composites="epsilon", out=None)).relevance["epsilon"].any()
    )
    assert prune(PruneSettings(run=studies / "jax", rates="0.5", by="magnitude,updates", samples=20, out=None)).points


def test_a_checkpoint_holds_the_network_as_torch_has_it(studies):
    snapshot = read_checkpoint(studies / "jax" / "cells" / "lfp-seed-1" / "last")
    model, _, _ = load_trained(studies / "jax", seed=1, which="last")
    assert snapshot.facts["framework"] == "jax"
    assert same([snapshot.model], [model.state_dict()])


def test_neither_framework_goes_on_with_the_other_s(studies):
    for name, run, other in (("torch", train, "jax"), ("jax", train_in_torch, "torch")):
        with pytest.raises(InputError, match=rf"{name} is of {name}, and {other} cannot go on with it") as error:
            run(**flags(rules="lfp", seeds=2, out=studies, name=name, resume=True))
        assert "\n" not in str(error.value)


def test_a_checkpoint_of_the_other_framework_is_refused(studies, tmp_path):
    shutil.copytree(studies / "torch", tmp_path / "mine")
    (tmp_path / "mine" / STUDY).unlink()
    with pytest.raises(InputError, match="was written by torch, and jax cannot go on with it"):
        train(**flags(rules="lfp", seeds=2, out=tmp_path, name="mine", resume=True))


def test_a_training_that_diverges_says_where_and_the_others_go_on():
    study = train(
        **flags(rules="backprop,shallow", data="sine", activation="relu", lr="backprop=1e9,shallow=0.1", clip=0)
    )
    bad, good = study.cells
    assert (bad.status, good.status) == ("diverged", "finished")
    assert bad.diverged_at
    assert "not finite. A learning rate below 1e+09 may help" in bad.message
    assert all(torch.isfinite(tensor).all() for tensor in bad.model.state_dict().values())


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"JAX has no device 'cuda:99', but .*cpu:0"):
        train(**flags(device="cuda:99", out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_the_data_is_refused_and_leaves_nothing(tmp_path):
    for wrong, message in (({"data": "sine", "rules": "drtp"}, "drtp"), ({"data": "digts"}, "no data set 'digts'")):
        with pytest.raises(InputError, match=message):
            train(**flags(**wrong, out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_all_rules_are_those_that_are_fit_for_the_task():
    study = train(**flags(data="sine", rules="all", epochs=1, track=()))
    assert set(study.rules) == set(RULES) - {"drtp"}
