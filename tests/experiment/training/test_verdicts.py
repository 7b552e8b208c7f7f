"""Networks that learned nothing, or whose units are dead, say so; those that learned do not."""

import pytest
import torch
from torch import nn

from altprop.experiment import Splits, compare, load_data
from altprop.experiment.training.fit import fit
from altprop.experiment.training.verdicts import _watched
from tests.experiment.toys import own_data, poison, tiny
from tests.experiment.training.toys import toy


def inputs(count):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0))


def notes_of(splits=None, seed=0, **sections):
    return fit(toy(**sections), seed=seed, splits=splits or own_data()).notes


def test_a_network_that_learned_says_nothing(circles):
    assert notes_of(circles, model="16", training={"epochs": 30}, optimizer={"lr": 0.3}) == ()


def test_a_network_at_chance_says_so_with_the_share_of_the_most_common_class():
    # Targets that the inputs know nothing of: 12 of 20 test samples are of class 1.
    y = torch.tensor([1, 1, 1, 0, 0]).repeat(12)
    splits = Splits.of_tensors("coins", (inputs(60)[:40], y[:40]), (inputs(60)[40:], y[40:]))
    (note,) = notes_of(splits, training={"epochs": 1}, optimizer={"lr": 1e-6})
    assert note.startswith("backprop (seed 0) is at chance: its test accuracy of ")
    assert "not above 0.600, the share of the most common class (binomial test over 20 samples, level 0.01)" in note


def test_r2_is_compared_with_predicting_the_mean():
    (note,) = notes_of(load_data("sine"), data="sine", training={"epochs": 1}, optimizer={"lr": 1e-7})
    assert "not above 0, that of predicting the mean" in note
    learned = {"training": {"epochs": 60, "batch_size": 64}, "optimizer": {"lr": 0.1}, "model": "32"}
    assert notes_of(load_data("sine"), data="sine", **learned) == ()


def test_a_reconstruction_is_compared_with_the_mean_input():
    splits = load_data("digits").reconstruction()
    recipe = {"data": {"name": "digits", "task": "reconstruction"}, "model": "16"}
    (note,) = notes_of(splits, **recipe, training={"epochs": 1}, optimizer={"lr": 1e-7})
    x = splits.test.x.flatten(1).double()
    assert f"is not below {float((x - x.mean(0)).square().mean()):.3f}, that of the mean input" in note


def dead(activation, bias):
    """The notes of a network whose hidden units all have so large a bias, and which is not trained to speak of."""
    splits = own_data()

    def build(*arguments, **options):
        network = nn.Sequential(nn.Linear(3, 50), activation(), nn.Linear(50, 2))
        with torch.no_grad():
            network[0].bias.fill_(bias)
            network[0].bias[:4] = 100  # of 50 units 46 are dead, if any are
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altprop.experiment.training.job.build_model", build)
        return [note for note in notes_of(splits, optimizer={"lr": 1e-9}) if "dead" in note]


def test_a_network_of_dead_units_says_so():
    assert dead(nn.ReLU, -100.0) == [
        "backprop (seed 0) has 46 of 50 hidden units dead: they give 0 for each of 20 test samples."
    ]


@pytest.mark.parametrize(("activation", "bias"), [(nn.ReLU, 100.0), (nn.Tanh, -100.0), (nn.LeakyReLU, -100.0)])
def test_units_that_are_active_or_saturated_are_not_dead(activation, bias):
    assert dead(activation, bias) == []


def test_of_maps_a_channel_is_a_unit_and_each_call_has_its_own():
    relu = nn.ReLU()
    x = torch.full((2, 3, 4, 4), -1.0)
    x[1, 2, 0, 3] = 1  # one place, in one sample: the channel is alive
    with _watched(relu) as active:
        relu(x)
        relu(-x)
    assert [one.tolist() for one in active] == [[False, False, True], [True, True, True]]


def test_neurons_that_never_spike_are_dead_and_one_spike_is_enough():
    snntorch = pytest.importorskip("snntorch")
    neuron = snntorch.Leaky(beta=0.5, threshold=1.0)
    with _watched(neuron) as active:
        mem = neuron.init_leaky()
        for current in ([0.1, 2.0, 0.1], [0.1, 0.1, 0.1]):
            _, mem = neuron(torch.tensor([current]), mem)
    assert [one.tolist() for one in active] == [[False, True, False]]


def test_the_study_and_its_page_and_the_terminal_say_it(tmp_path):
    results = compare(**tiny(out=tmp_path, rules="shallow", optimizer="sgd", lr=1e-7))
    at_chance = [note for note in results.messages if "is at chance" in note]
    assert len(at_chance) == 2, "of backprop and of the control"
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    record = (results.folder / "study.json").read_text(encoding="utf-8")
    for note in at_chance:
        assert note in page
        assert note in record


def test_a_diverged_network_is_not_judged(register):
    register("poisoned", poison("linear1.weight", 3))
    assert fit(toy(rule="poisoned"), seed=0).notes == ()
