"""The embedded sets, opened as a recipe asks for them."""

import pytest
import torch

from altprop.experiment import DATA, InputError, load_data
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection


@pytest.mark.parametrize("name", sorted(DATA.keys() - {"mnist-5k", "mnist1d"}))  # those two take long
def test_all_of_a_set_is_what_load_data_gives(name):
    splits, data = open_data(DataSection(name=name)), load_data(name)
    assert (splits.name, splits.task, splits.input_shape, splits.outputs) == (
        data.name,
        data.task,
        data.input_shape,
        data.outputs,
    )
    assert splits.validation is None
    assert torch.equal(splits.train.x, data.train.x)
    assert torch.equal(splits.test.y, data.test.y)


def test_a_fraction_is_stratified_and_validation_is_held_out_of_it():
    data = load_data("digits")
    splits = open_data(DataSection(name="digits", fraction=0.5, validation=0.25, seed=3))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (538, 180, 360)
    counts = splits.train.y.bincount() + splits.validation.y.bincount()
    assert (counts - data.train.y.bincount() / 2).abs().max() <= 1
    rows = {x.numpy().tobytes() for x in splits.train.x}
    assert not any(x.numpy().tobytes() in rows for x in splits.validation.x)


def test_the_seed_decides_what_is_held_out():
    held_out = [open_data(DataSection(name="circles", validation=0.2, seed=seed)).validation.x for seed in (0, 0, 1)]
    assert torch.equal(held_out[0], held_out[1])
    assert not torch.equal(held_out[0], held_out[2])


def test_a_reconstruction_has_its_inputs_as_targets():
    splits = open_data(DataSection(name="digits", task="reconstruction", validation=0.1))
    assert (splits.task, splits.outputs) == ("reconstruction", 64)
    for part in (splits.train, splits.validation, splits.test):
        x, y = part.batch(torch.tensor([2, 0]), epoch=1)
        assert torch.equal(y, x.flatten(1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "digit"}, "no data set 'digit'.*Did you mean 'digits'"),
        ({"root": "there"}, "digits comes with altprop as it is, and has no folder of files: leave out there"),
        ({"size": 16}, "digits comes with altprop as it is: leave data.size unset"),
        ({"augment": True}, "no augmentation is usual for it: leave data.augment at false"),
        ({"fraction": 0.0001}, "A share of 0.0001 of 1437 examples leaves one of two parts empty"),
    ],
)
def test_what_an_embedded_set_has_not_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        open_data(DataSection(**given))
