"""A data set of one's own: what is refused, and what is held out."""

import pytest
import torch

from altprop.experiment import InputError
from tests.experiment.toys import own_data

X, Y = torch.zeros(20, 3), torch.zeros(20, dtype=torch.int64)
NUMBERS = {"task": "regression", "y_train": torch.zeros(40, 2), "y_test": torch.zeros(20, 2)}
BAD = {
    "float64 inputs": ({"x_train": torch.zeros(40, 3).double()}, r"x_train must be float32.*float64.*\(40, 3\)"),
    "bytes as inputs": ({"x_test": X.byte()}, "x_test must be float32.*uint8"),
    "inputs without a feature": ({"x_test": X[:, 0]}, r"x_test must be.*\(samples, \.\.\.\).*\(20,\)"),
    "no samples": ({"x_test": X[:0], "y_test": Y[:0]}, "x_test holds no samples"),
    "fewer targets": ({"y_train": Y}, "x_train has 40 samples and y_train has 20"),
    "NaN as input": ({"x_test": X / 0}, "x_test holds values that are NaN or infinite"),
    "other test shape": ({"x_test": torch.zeros(20, 4)}, r"differ in shape, \(3,\) and \(4,\)"),
    "a class too many": ({"y_test": Y + 2}, "y_test holds classes from 2 to 2, but 2 outputs.*classes 0 to 1"),
    "a negative class": ({"y_test": Y - 1}, "y_test holds classes from -1 to -1"),
    "int32 classes": ({"y_train": torch.zeros(40, dtype=torch.int32)}, "y_train must be int64.*int32"),
    "one-hot classes": ({"y_test": torch.zeros(20, 2)}, r"y_test must be int64 of shape \(samples,\).*\(20, 2\)"),
    "classes for numbers": ({"task": "regression"}, r"y_train must be float32 of shape \(samples, 2\).*int64"),
    "numbers in a row": (NUMBERS | {"y_test": torch.zeros(20)}, r"y_test must be.*\(samples, 2\).*\(20,\)"),
    "infinite numbers": (NUMBERS | {"y_train": torch.full((40, 2), torch.inf)}, "y_train holds values that are NaN"),
    "another task": ({"task": "ranking"}, "one of classification, regression, reconstruction, got 'ranking'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_refused_by_name(case):
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message):
        own_data(**changes)


def test_regression_is_taken():
    assert own_data(**NUMBERS).inputs == 3


def test_holding_out_splits_the_training_data_the_same_way_each_time():
    data = own_data()
    held, again = data.hold_out(0.25), data.hold_out(0.25)
    assert (len(held.x_train), len(held.x_test)) == (30, 10)
    assert torch.equal(held.x_test, again.x_test)
    pairs = [(*x.tolist(), int(y)) for x, y in zip(data.x_train, data.y_train, strict=True)]
    split = [
        (*x.tolist(), int(y))
        for x, y in zip(torch.cat([held.x_train, held.x_test]), torch.cat([held.y_train, held.y_test]), strict=True)
    ]
    assert sorted(split) == sorted(pairs)


def test_holding_out_does_not_look_at_the_test_data():
    data = own_data()
    other = own_data(x_test=data.x_test + 1, y_test=1 - data.y_test)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(data.hold_out(), part), getattr(other.hold_out(), part))


def test_too_few_samples_to_hold_out_are_refused():
    with pytest.raises(InputError, match="1 training samples are too few"):
        own_data(x_train=X[:1], y_train=Y[:1]).hold_out()


@pytest.mark.parametrize(
    ("shape", "image", "plane"), [((1, 8, 8), True, False), ((2,), False, True), ((40,), False, False)]
)
def test_knows_images_and_points(shape, image, plane):
    data = own_data(x_train=torch.zeros(40, *shape), x_test=torch.zeros(20, *shape))
    assert (data.is_image, data.is_2d) == (image, plane)


def test_a_reconstruction_has_its_inputs_for_targets():
    images = own_data(x_train=torch.rand(40, 1, 4, 4), x_test=torch.rand(20, 1, 4, 4))
    data = images.reconstruction()
    assert (data.task, data.outputs) == ("reconstruction", 16)
    assert torch.equal(data.y_train.reshape(40, 1, 4, 4), images.x_train)
    assert torch.equal(data.y_test.reshape(20, 1, 4, 4), images.x_test)
