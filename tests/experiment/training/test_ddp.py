"""Two processes train as one does on the joined batches."""

import pytest
import torch

from altprop.experiment import load_data
from altprop.experiment.recipes import Recipe
from altprop.experiment.registry import RULES
from altprop.experiment.training.fit import fit
from tests.experiment.training.ddp import train_in_processes

pytestmark = pytest.mark.filterwarnings("ignore:DRTP teaches")

NAMES = [*RULES, "sign-symmetric-batchwise", "local-loss-trained", "accumulated", "odd", "bounded"]


def recipe(name):
    """A recipe of two epochs in two processes. At a moderate rate, so that rounding does not grow."""
    rule = {"name": name if name in RULES else "lfp"}
    training = {"epochs": 2, "batch_size": 64}
    match name:
        case "sign-symmetric-batchwise":
            rule = {"name": "sign-symmetric", "mode": "batchwise"}
        case "local-loss-trained":
            rule = {"name": "local-loss", "classifier": "trained"}
        case "accumulated":
            training["accumulate"] = 2
        case "odd":  # the parts differ in size
            training["batch_size"] = 61
        case "bounded":
            training |= {"error_clip": 1e-4, "constrain_weights": True}
    return Recipe(
        model={"name": "32", "activation": "tanh"},
        rule=rule,
        optimizer={"lr": 0.05},
        training=training,
        machine={"strategy": "ddp", "devices": 2},
        track={"loggers": ()},
    )


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def distributed(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    recipes = {name: (recipe(name), None) for name in NAMES}
    once = recipe("lfp")
    recipes["first half"] = (
        once.model_copy(update={"training": once.training.model_copy(update={"epochs": 1})}),
        "kept",
    )
    recipes["second half"] = (once, "kept")
    hot = {"model": {"name": "32"}, "optimizer": {"lr": 1e30}, "training": {"clip": 0.0}, "machine": once.machine}
    recipes["diverging"] = (Recipe(**hot), None)
    return train_in_processes(recipes, digits, folder), folder


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_as_one_on_the_joined_batches(name, digits, distributed):
    alone = recipe(name).model_copy(update={"machine": Recipe().machine})
    expected = fit(alone, seed=0, splits=digits)
    status, _, weights, history = distributed[0][name]
    assert status == expected.status == "finished"
    for key, p in expected.model.named_parameters():
        torch.testing.assert_close(weights[key], p.detach(), rtol=0, atol=1e-5)
    for figures, own in zip(history, expected.history, strict=True):
        assert figures["test_score"] == pytest.approx(own.test_score, abs=5e-4)
        assert figures["train_score"] == pytest.approx(own.train_score, abs=2e-3)
        assert figures["train_loss"] == pytest.approx(own.train_loss, rel=1e-4)


def test_two_processes_go_on_with_a_training(distributed):
    _, _, whole, _ = distributed[0]["lfp"]
    status, _, resumed, history = distributed[0]["second half"]
    assert status == "finished"
    assert [figures["epoch"] for figures in history] == [1, 2]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_one_process_goes_on_with_the_training_of_two(digits, distributed):
    trained, folder = distributed
    longer = recipe("lfp").model_copy(update={"machine": Recipe().machine})
    resumed = fit(longer, seed=0, splits=digits, folder=folder / "kept", resume=True)
    _, _, expected, _ = trained["lfp"]
    assert all(torch.equal(p.detach(), expected[key]) for key, p in resumed.model.named_parameters())


def test_processes_stop_together_when_training_diverges(distributed):
    status, message, _, _ = distributed[0]["diverging"]
    assert status == "diverged"
    assert "is not finite" in message
