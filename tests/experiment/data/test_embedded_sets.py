"""The data sets: what they hold, that they are always the same, and that loading them disturbs nothing."""

import random
import re
import zlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from altprop.experiment import DATA, InputError, load_data
from altprop.experiment.metrics import score

# Of each: task, train, test, input shape, outputs; checksums of the inputs (training, test) and of the targets; and
# the most that a linear read-out may reach on the test data, for data that hidden layers are needed for.
KNOWN = {
    "digits": ("classification", 1437, 360, (1, 8, 8), 10, 191.282, -19.172, 4166936904, 1.0),
    "mnist-5k": ("classification", 4000, 1000, (1, 28, 28), 10, -243.402, 144.270, 2109550748, 1.0),
    "mnist1d": ("classification", 4000, 1000, (40,), 10, 210.481, -172.842, 130800365, 0.35),
    "circles": ("classification", 1000, 500, (2,), 2, -23.701, 15.579, 1870756865, 0.6),
    "blobs": ("classification", 1000, 500, (2,), 4, -34.552, 10.741, 3426725821, 0.7),
    "swirl": ("classification", 1000, 500, (2,), 3, -16.012, 9.928, 3432355197, 0.6),
    "teacher-student": ("regression", 3200, 800, (10,), 10, -103.804, 27.708, 51.134, 0.9),
    # The text is that of the Python which runs, so that it has no checksum; rulers of hyphens are on many pages.
    "python-text": ("classification", 4000, 1000, (32,), 96, None, None, None, 1.0),
    "sine": ("regression", 1000, 500, (1,), 1, 17.544, 17.430, 10.715, 0.7),
}


NUMBERS = [name for name in KNOWN if name != "python-text"]


@pytest.fixture(scope="module")
def loaded():
    return {name: load_data(name) for name in DATA}


def checksum(values):
    if values.dtype == torch.int64:
        return zlib.crc32(values.numpy().tobytes())
    values = values.double().flatten()
    return float(values @ torch.arange(len(values), dtype=torch.float64).cos())


def test_every_data_set_is_tested():
    assert DATA.keys() == KNOWN.keys()


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_shapes_and_types_are_as_listed(loaded, name):
    data, (task, train, test, shape, outputs, *_) = loaded[name], KNOWN[name]
    assert (data.name, data.task, data.input_shape, data.outputs) == (name, task, shape, outputs)
    assert DATA[name].task == task
    for size, x, y in ((train, data.x_train, data.y_train), (test, data.x_test, data.y_test)):
        assert (x.shape, x.dtype) == ((size, *shape), torch.float32)
        assert (y.shape, y.dtype) == (
            ((size,), torch.int64) if task == "classification" else ((size, outputs), torch.float32)
        )
        if task == "classification":
            seen = y.unique().tolist()
            assert seen == list(range(outputs)) or (name == "python-text" and set(seen) < set(range(outputs)))
    sizes = re.findall(r"\d[\d,]*", DATA[name].size)[:2]
    assert [int(number.replace(",", "")) for number in sizes] == [train, test]


@pytest.mark.parametrize("name", NUMBERS)
def test_the_numbers_and_their_split_are_always_the_same(loaded, name):
    data, (*_, x_train, x_test, y_train, _) = loaded[name], KNOWN[name]
    assert checksum(data.x_train) == pytest.approx(x_train, abs=0.02)
    assert checksum(data.x_test) == pytest.approx(x_test, abs=0.02)
    assert checksum(data.y_train) == pytest.approx(y_train, abs=0.02)


@pytest.mark.parametrize("name", NUMBERS)
def test_inputs_are_standardised_by_the_training_data(loaded, name):
    data = loaded[name]
    over = (0,) if data.inputs <= 10 else tuple(range(data.x_train.dim()))
    mean, deviation = data.x_train.double().mean(over), data.x_train.double().std(over)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=0, atol=1e-5)
    # With its own statistics the test data would have a mean of zero too.
    assert data.x_test.mean(over).abs().max() > 1e-5
    if data.task == "regression":
        torch.testing.assert_close(data.y_train.std(0), torch.ones(data.outputs), rtol=0, atol=1e-5)
        torch.testing.assert_close(data.y_train.mean(0), torch.zeros(data.outputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["digits", "mnist-5k"])
def test_the_split_of_the_images_is_stratified(loaded, name):
    data = loaded[name]
    train, test = data.y_train.bincount().double(), data.y_test.bincount().double()
    share = len(data.y_test) / (len(data.y_train) + len(data.y_test))
    assert ((train + test) * share - test).abs().max() < 1


@pytest.mark.parametrize("name", NUMBERS)
def test_train_and_test_data_have_nothing_in_common(loaded, name):
    data = loaded[name]
    train = {row.numpy().tobytes() for row in data.x_train.flatten(1)}
    assert not any(row.numpy().tobytes() in train for row in data.x_test.flatten(1))


@pytest.mark.parametrize(("name", "side"), [("digits", 8), ("mnist-5k", 28)])
def test_images_keep_their_pixels_in_place(loaded, name, side):
    data = loaded[name]
    # A digit is in the middle: the border is darker, and no row or column of it is bright.
    mean = data.x_train.mean((0, 1))
    middle = mean[side // 4 : -side // 4, side // 4 : -side // 4].mean()
    assert middle > mean[:, 0].max()
    assert middle > mean[:, -1].max()


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known[-1] < 1])
def test_a_linear_model_fails_where_hidden_layers_are_called_for(loaded, name):
    data, most = loaded[name], KNOWN[name][-1]
    targets = data.y_train if data.task == "regression" else F.one_hot(data.y_train).float()
    linear = torch.linalg.lstsq(F.pad(data.x_train, (0, 1), value=1.0), targets).solution
    assert score(data.task, F.pad(data.x_test, (0, 1), value=1.0) @ linear, data.y_test) < most


def test_the_sine_is_a_sine(loaded):
    data = loaded["sine"]
    # x was uniform on [-π, π): its standard deviation is π/√3.
    curve = (data.x_test * torch.pi / 3**0.5).sin().flatten()
    assert torch.corrcoef(torch.stack([curve, data.y_test.flatten()]))[0, 1] > 0.995


@pytest.mark.parametrize("name", KNOWN)
def test_loading_moves_no_global_random_state_and_repeats(loaded, name, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # so that what is generated is generated anew
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    again = load_data(name)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(again, part), getattr(loaded[name], part))


@pytest.mark.parametrize(("name", "meant"), [("digit", "digits"), ("MNIST-5K", "mnist-5k"), ("swirls", "swirl")])
def test_an_unknown_name_gives_the_closest_match_and_the_list(name, meant):
    with pytest.raises(InputError, match=f"no data set '{name}'.*Did you mean '{meant}'.*Known: digits, mnist-5k"):
        load_data(name)
