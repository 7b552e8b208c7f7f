"""The data sets: what they hold, that they are always the same, and that loading them disturbs nothing."""

import random
import re
import zlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from altprop.experiment import DATA, InputError, load_data
from altprop.experiment.data.examples import whole
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
    "drtp-classification": ("classification", 25000, 5000, (1, 16, 16), 10, None, None, None, 1.0),
    "drtp-regression": ("regression", 5000, 1000, (1, 16, 16), 10, None, None, None, 0.6),
    "sine": ("regression", 1000, 500, (1,), 1, 17.544, 17.430, 10.715, 0.7),
}


NUMBERS = [name for name in KNOWN if name != "python-text"]
STANDARDISED = [name for name in NUMBERS if not name.startswith("drtp")]


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
    for size, x, y in ((train, data.train.x, data.train.y), (test, data.test.x, data.test.y)):
        assert (x.shape, x.dtype) == ((size, *shape), torch.float32)
        assert (y.shape, y.dtype) == (
            ((size,), torch.int64) if task == "classification" else ((size, outputs), torch.float32)
        )
        if task == "classification":
            seen = y.unique().tolist()
            assert seen == list(range(outputs)) or (name == "python-text" and set(seen) < set(range(outputs)))
    sizes = re.findall(r"\d[\d,]*", DATA[name].size)[:2]
    assert [int(number.replace(",", "")) for number in sizes] == [train, test]


@pytest.mark.parametrize("name", STANDARDISED)
def test_the_numbers_and_their_split_are_always_the_same(loaded, name):
    data, (*_, x_train, x_test, y_train, _) = loaded[name], KNOWN[name]
    assert checksum(data.train.x) == pytest.approx(x_train, abs=0.02)
    assert checksum(data.test.x) == pytest.approx(x_test, abs=0.02)
    assert checksum(data.train.y) == pytest.approx(y_train, abs=0.02)


@pytest.mark.parametrize("name", STANDARDISED)
def test_inputs_are_standardised_by_the_training_data(loaded, name):
    data = loaded[name]
    over = (0,) if data.inputs <= 10 else tuple(range(data.train.x.dim()))
    mean, deviation = data.train.x.double().mean(over), data.train.x.double().std(over)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=0, atol=1e-5)
    # With its own statistics the test data would have a mean of zero too.
    assert data.test.x.mean(over).abs().max() > 1e-5
    if data.task == "regression":
        torch.testing.assert_close(data.train.y.std(0), torch.ones(data.outputs), rtol=0, atol=1e-5)
        torch.testing.assert_close(data.train.y.mean(0), torch.zeros(data.outputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["digits", "mnist-5k"])
def test_the_split_of_the_images_is_stratified(loaded, name):
    data = loaded[name]
    train, test = data.train.y.bincount().double(), data.test.y.bincount().double()
    share = len(data.test.y) / (len(data.train.y) + len(data.test.y))
    assert ((train + test) * share - test).abs().max() < 1


@pytest.mark.parametrize("name", NUMBERS)
def test_train_and_test_data_have_nothing_in_common(loaded, name):
    data = loaded[name]
    train = {row.numpy().tobytes() for row in data.train.x.flatten(1)}
    assert not any(row.numpy().tobytes() in train for row in data.test.x.flatten(1))


@pytest.mark.parametrize(("name", "side"), [("digits", 8), ("mnist-5k", 28)])
def test_images_keep_their_pixels_in_place(loaded, name, side):
    data = loaded[name]
    # A digit is in the middle: the border is darker, and no row or column of it is bright.
    mean = data.train.x.mean((0, 1))
    middle = mean[side // 4 : -side // 4, side // 4 : -side // 4].mean()
    assert middle > mean[:, 0].max()
    assert middle > mean[:, -1].max()


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known[-1] < 1])
def test_a_linear_model_fails_where_hidden_layers_are_called_for(loaded, name):
    data, most = loaded[name], KNOWN[name][-1]
    targets = data.train.y if data.task == "regression" else F.one_hot(data.train.y).float()
    x, x_test = (F.pad(part.x.flatten(1), (0, 1), value=1.0) for part in (data.train, data.test))
    linear = torch.linalg.lstsq(x, targets).solution
    assert score(data.task, x_test @ linear, data.test.y) < most


def test_the_sine_is_a_sine(loaded):
    data = loaded["sine"]
    # x was uniform on [-π, π): its standard deviation is π/√3.
    curve = (data.test.x * torch.pi / 3**0.5).sin().flatten()
    assert torch.corrcoef(torch.stack([curve, data.test.y.flatten()]))[0, 1] > 0.995


def test_the_regression_of_drtp_is_cosines_of_the_mean_of_an_angle_with_noise(loaded):
    train, test = loaded["drtp-regression"].train, loaded["drtp-regression"].test
    x, y = torch.cat([train.x, test.x]), torch.cat([train.y, test.y])
    angles = x.flatten(1).mean(1)
    for output in range(10):
        torch.testing.assert_close(y[:, output], torch.cos(angles + torch.pi * (output - 4.5) / 9), atol=1e-5, rtol=0)
    # Uniform from -π to π (Kolmogorov-Smirnov at the level 0.001), but for the noise of the mean, of deviation 1/16.
    uniform = (angles.sort().values / torch.pi + 1) / 2
    assert (uniform - (torch.arange(6000) + 0.5) / 6000).abs().max() < 1.95 / 6000**0.5 + 1 / 16 / (2 * torch.pi)
    noise = x.flatten(1) - angles[:, None]
    assert float(noise.var()) == pytest.approx(255 / 256, abs=0.01)
    assert float((noise[:, 0] * noise[:, 1]).mean()) == pytest.approx(-1 / 256, abs=4 / 6000**0.5)


def test_the_classification_of_drtp_is_balanced_clusters_among_noise(loaded):
    x, y = loaded["drtp-classification"].train.x.flatten(1), loaded["drtp-classification"].train.y
    assert (y.bincount() - 2500).abs().max() < 4 * (25000 * 0.1 * 0.9) ** 0.5
    spread = x.std(0)
    noise, informative = spread[spread < 1.1], spread[spread > 3]
    # Each of 50 centres is a corner of a cube of side 2·4.5, around which a cluster spreads.
    assert (len(noise), len(informative)) == (128, 128)
    assert (noise - 1).abs().max() < 5 / (2 * 25000) ** 0.5
    assert informative.min() > 4.5
    by_class = torch.stack([x[y == one].mean(0) for one in range(10)])
    assert by_class[:, spread < 1.1].abs().max() < 5 / 2500**0.5
    assert by_class[:, spread > 3].abs().max() > 1


@pytest.mark.parametrize("name", KNOWN)
def test_loading_moves_no_global_random_state_and_repeats(loaded, name, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # so that what is generated is generated anew
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    again = load_data(name)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    for part in ("train", "test"):
        for one, other in zip(whole(getattr(again, part)), whole(getattr(loaded[name], part)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(("name", "meant"), [("digit", "digits"), ("MNIST-5K", "mnist-5k"), ("swirls", "swirl")])
def test_an_unknown_name_gives_the_closest_match_and_the_list(name, meant):
    with pytest.raises(InputError, match=f"no data set '{name}'.*Did you mean '{meant}'.*Known: digits, mnist-5k"):
        load_data(name)
