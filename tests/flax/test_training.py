import json

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file
from typer.testing import CliRunner

from altprop.cli import app
from altprop.experiment import InputError
from altprop.flax.networks import RULES, make_network
from altprop.flax.results import FlaxResults
from altprop.flax.settings import FlaxSettings
from altprop.flax.training import train
from tests.experiment.data.originals import idx
from tests.experiment.toys import StopsAt


def settings(**changed):
    return FlaxSettings(
        **({"data": "circles", "hidden": "8", "epochs": 2, "out": None, "activations": "tanh", "track": 0} | changed)
    )


@pytest.mark.parametrize(("rule", "threshold"), [("fa", 0.94), ("kp", 0.95), ("dfa", 0.94), ("lfp", 0.95)])
def test_digits_are_learned(rule, threshold):
    results = train(FlaxSettings(rule=rule, epochs=15, track=0, out=None))
    assert results.score >= threshold


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_trains_and_is_compared_with_backprop(rule):
    results = train(settings(rule=rule, track=2))
    last = results.epochs[-1]
    assert [epoch.epoch for epoch in results.epochs] == [1, 2]
    assert list(last.layer_cosines) == ["layer0", "layer1"]
    expected = {"backprop": 1.0}.get(rule)
    assert last.cosine == pytest.approx(expected, rel=1e-5) if expected else abs(last.cosine) < 1
    assert last.layer_cosines["layer1"] == pytest.approx(1, abs=1e-5) or rule == "lfp"
    assert (last.weight_cosine is not None) == (rule in {"fa", "kp"})
    assert last.layer_cosines["layer0"] == 0 or rule != "shallow"


def test_a_run_is_repeated_exactly_and_another_seed_is_another_run():
    one, again, other = (train(settings(rule="fa", seed=seed, epochs=1)) for seed in (0, 0, 1))
    assert one.epochs == again.epochs
    assert one.epochs != other.epochs


@pytest.mark.parametrize("data", ["sine", "teacher-student"])
def test_regression_reaches_what_it_should(data):
    results = train(settings(data=data, hidden="64-32", rule="fa", lr=0.05, epochs=25))
    assert results.metric == "R²"
    assert results.score > {"sine": 0.95, "teacher-student": 0.4}[data]


def test_the_files_of_mnist_are_trained_on(tmp_path, monkeypatch):
    idx(tmp_path, monkeypatch)
    results = train(settings(data=f"mnist:{tmp_path}", epochs=1))
    assert results.metric == "accuracy"
    with pytest.raises(InputError, match="train-images"):
        train(settings(data=f"mnist:{tmp_path / 'elsewhere'}"))


def test_validation_data_are_held_out():
    results = train(settings(validation=0.2, epochs=1))
    assert results.epochs[0].validation_score is not None


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers_with_weight_decay_shrink_the_weights(optimizer, tmp_path):
    norms = []
    for decay in (0.0, 0.3):
        results = train(settings(optimizer=optimizer, lr=0.01, weight_decay=decay, out=tmp_path))
        norms.append(np.linalg.norm(load_file(results.folder / "model.safetensors")["layer0.kernel"]))
    assert norms[1] < norms[0]


def test_scales_of_the_weights_and_the_feedback_weights_are_respected():
    plain, scaled = (train(settings(rule="dfa", feedback_scale=scale, epochs=1, track=1)) for scale in (1.0, 10.0))
    assert scaled.epochs[0].norm_ratio > 2 * plain.epochs[0].norm_ratio


def test_the_folder_holds_results_weights_and_curves(tmp_path):
    results = train(settings(out=tmp_path, name="mine", rule="kp"))
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "altprop.json",
        "curves.csv",
        "model.safetensors",
        "results.json",
    ]
    saved = json.loads((tmp_path / "mine" / "results.json").read_text())
    assert FlaxResults.model_validate(saved).epochs == results.epochs
    weights = load_file(tmp_path / "mine" / "model.safetensors")
    assert weights["layer0.kernel"].shape == weights["layer0.feedback"].shape == (2, 8)


def test_a_run_that_diverges_stops_and_says_so(tmp_path):
    done = CliRunner().invoke(
        app,
        f"flax train --data sine --hidden 8 --activations linear --lr 1e6 --clip 0 --rule backprop --out {tmp_path}",
    )
    assert done.exit_code == 1
    assert "diverged in epoch 1" in done.stderr


def test_weights_and_biases_gets_every_epoch(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    results = train(settings(wandb=True, out=tmp_path))
    (run,) = (results.folder / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))


def test_without_wandb_its_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("altprop.flax.logs.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install .*\[wandb\]"):
        train(settings(wandb=True, out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_command_line_trains(tmp_path):
    done = CliRunner().invoke(
        app, ["flax", "train", "--data", "circles", "--hidden", "8", "--epochs", "1", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.stderr
    assert "accuracy" in done.stdout
    assert (tmp_path / "flax-lfp-circles-8" / "results.json").is_file()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rule": "lpf"}, "There is no rule 'lpf'. Did you mean 'lfp'"),
        ({"activations": "tahn"}, "There is no activation 'tahn'"),
        ({"activations": "tanh,relu", "hidden": "8"}, "one for each of the 1, got 2"),
        ({"kernel_init": "lecun"}, "There is no kernel init"),
        ({"hidden": "8-x"}, "hidden"),
        ({"momentum": 2}, "momentum"),
        ({"depth": 3}, "There is no setting 'depth'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        settings(**wrong)


def test_what_does_not_fit_the_data_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="DRTP needs classes"):
        train(settings(data="sine", rule="drtp", out=tmp_path))
    with pytest.raises(InputError, match="no data set 'digts'"):
        train(settings(data="digts", out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_networks_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="There is no rule"):
        make_network("other", (2, 3), [], rngs=None)
    with pytest.raises(ValueError, match="1 hidden layers need as many activations, got 0"):
        make_network("fa", (2, 3, 4), [], rngs=None)


def test_an_interrupt_keeps_the_epochs_so_far(tmp_path):
    per_epoch = train(settings(epochs=1, out=None), watch=(counts := StopsAt())) and counts.done
    results = train(settings(epochs=5, out=tmp_path, name="mine"), watch=StopsAt(2 * per_epoch + 1))
    assert results.interrupted
    assert [epoch.epoch for epoch in results.epochs] == [1, 2]
    assert (tmp_path / "mine" / "model.safetensors").is_file()
    with pytest.raises(KeyboardInterrupt):
        train(settings(out=tmp_path, name="other"), watch=StopsAt(1))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
