"""Two processes that keep the network in pieces train as one does that has it whole."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from altprop.experiment import load_data
from altprop.experiment.data.examples import TensorExamples
from altprop.experiment.recipes import Recipe
from altprop.experiment.registry import RULES
from altprop.experiment.training.checkpoints import read_checkpoint
from altprop.experiment.training.fit import fit
from altprop.experiment.training.job import Job
from tests.experiment.training.ddp import train_in_processes

pytestmark = pytest.mark.filterwarnings("ignore:DRTP teaches")

ALL_TRACKED = {"metrics": ("bp_cosine", "norms", "sparsity", "weight_alignment", "gini"), "loggers": ()}

# Networks and options beside the rules by themselves, which are all there too.
OTHERS = {
    "batchwise": {"rule": {"name": "sign-symmetric", "mode": "batchwise"}},
    "trained": {"rule": {"name": "local-loss", "classifier": "trained"}},
    "taught-forward": {"rule": {"name": "drtp", "when": "forward"}},
    "accumulated": {"training": {"epochs": 1, "batch_size": 64, "accumulate": 2}},
    "odd": {"training": {"epochs": 1, "batch_size": 61}},  # the parts differ in size
    "bounded": {
        "training": {"epochs": 1, "batch_size": 64, "error_clip": 1e-4, "constrain_weights": True},
        "model": {"name": "32-16", "activation": "tanh", "frozen": ("linear2",)},
    },
    "clipped": {"training": {"epochs": 1, "batch_size": 64, "clip": 0.01}},
    "tracked": {"rule": {"name": "kp"}, "optimizer": {"name": "adam", "lr": 0.01}, "track": ALL_TRACKED},
    "transformer": {"model": {"name": "vit-tiny"}, "rule": {"name": "lfp", "minimum_scale": 1e-3}},
    "spiking": {"model": {"name": "lif-16", "activation": "atan"}, "optimizer": {"lr": 0.01}},
}
NAMES = [*RULES, *OTHERS]


def recipe(name="lfp", strategy="fsdp", **sections):
    """A recipe of four steps an epoch."""
    sections = OTHERS.get(name, {"rule": {"name": name}}) | sections
    machine = {} if strategy == "alone" else {"strategy": strategy, "devices": 2}
    defaults = {
        "model": {"name": "32", "activation": "tanh"},
        "rule": {"name": "lfp"},
        "optimizer": {"lr": 0.05},
        "training": {"epochs": 1, "batch_size": 64},
        "track": {"loggers": ()},
        "machine": machine,
    }
    return Recipe(**defaults | sections)


def adam(strategy, epochs):
    """A recipe with more to keep than weights: of the optimizer, of the rule and of the epoch."""
    training = {"epochs": epochs, "batch_size": 64}
    return recipe("kp", strategy, optimizer={"name": "adam", "lr": 0.01}, training=training)


@pytest.fixture(scope="module")
def digits():
    whole = load_data("digits")
    return replace(whole, train=TensorExamples(whole.train.x[:250], whole.train.y[:250]))


@pytest.fixture(scope="module")
def in_pieces(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp")
    recipes = {name: (recipe(name), None) for name in NAMES}
    for before in ("fsdp", "ddp"):
        recipes[f"half of {before}"] = (adam(before, 1), f"{before}/seed-0")
        recipes[f"fsdp after {before}"] = (adam("fsdp", 2), f"{before}/seed-0")
    recipes["half for one"] = (adam("fsdp", 1), "one/seed-0")
    recipes["whole"] = (adam("fsdp", 2), None)
    recipes["diverging"] = (recipe(optimizer={"lr": 1e30}, training={"clip": 0.0}), None)
    return train_in_processes(recipes, digits, folder), folder


def assert_same_weights(weights, model, atol):
    assert weights.keys() == dict(model.named_parameters()).keys()
    for key, p in model.named_parameters():
        assert not isinstance(weights[key], DTensor)
        torch.testing.assert_close(weights[key], p.detach(), rtol=0, atol=atol)


@pytest.mark.parametrize("name", NAMES)
def test_pieces_train_as_the_whole_does(name, digits, in_pieces):
    expected = fit(recipe(name, "alone"), seed=0, splits=digits)
    status, _, weights, history = in_pieces[0][name]
    assert status == expected.status == "finished"
    assert_same_weights(weights, expected.model, 1e-5)
    for figures, own in zip(history, expected.history, strict=True):
        assert figures["test_score"] == pytest.approx(own.test_score, abs=5e-4)
        assert figures["train_score"] == pytest.approx(own.train_score, abs=2e-3)
        assert figures["train_loss"] == pytest.approx(own.train_loss, rel=1e-4)
        assert figures["tracked"].keys() == own.tracked.keys()
        for key, value in own.tracked.items():
            assert figures["tracked"][key] == pytest.approx(value, abs=1e-5, rel=1e-5)


def test_what_is_tracked_of_pieces_is_there(in_pieces):
    [figures] = in_pieces[0]["tracked"][3]
    for name in ("bp_cosine", "norm_ratio", "weight_norm", "sparsity", "weight_alignment"):
        assert figures["tracked"][name] is not None


def test_pieces_go_on_with_a_training_of_pieces_bit_for_bit(in_pieces):
    _, _, whole, _ = in_pieces[0]["whole"]
    status, _, resumed, history = in_pieces[0]["fsdp after fsdp"]
    assert status == "finished"
    assert [figures["epoch"] for figures in history] == [1, 2]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_pieces_go_on_with_a_training_of_whole_copies(digits, in_pieces):
    expected = fit(adam("alone", 2), seed=0, splits=digits)
    assert in_pieces[0]["half of ddp"][0] == "finished"
    assert_same_weights(in_pieces[0]["fsdp after ddp"][2], expected.model, 1e-5)


def test_one_process_goes_on_with_a_training_of_pieces(digits, in_pieces):
    _, folder = in_pieces
    expected = fit(adam("alone", 2), seed=0, splits=digits)
    resumed = fit(adam("alone", 2), seed=0, splits=digits, folder=folder / "one" / "seed-0", resume=True)
    assert [figures.epoch for figures in resumed.history] == [1, 2]
    assert_same_weights(dict(resumed.model.named_parameters()), expected.model, 1e-5)


def test_the_checkpoints_of_pieces_hold_a_whole_network(digits, in_pieces):
    trained, folder = in_pieces
    model, state = Job(adam("fsdp", 2), digits, 0).blank_model(), read_checkpoint(folder / "fsdp/seed-0/last").model
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    _, _, weights, _ = trained["fsdp after fsdp"]
    assert isinstance(model, nn.Module)
    assert all(torch.equal(p, weights[key]) for key, p in model.named_parameters())


def test_pieces_stop_together_when_training_diverges(in_pieces):
    status, message, _, _ = in_pieces[0]["diverging"]
    assert status == "diverged"
    assert "is not finite" in message
