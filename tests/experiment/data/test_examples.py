"""Data of one's own: what is refused, and what is made of it."""

import pytest
import torch

from altprop.experiment import InputError
from altprop.experiment.data.examples import Chosen, Reconstructed, TensorExamples, as_splits
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
    assert torch.equal(data.train.y.reshape(40, 1, 4, 4), images.train.x)
    assert torch.equal(data.test.y.reshape(20, 1, 4, 4), images.test.x)


def test_tensors_are_taken_in_one_pair_or_two():
    x, y = torch.randn(50, 3), torch.arange(50) % 2
    one, two = as_splits((x, y)), as_splits(((x[:40], y[:40]), (x[40:], y[40:])))
    assert (len(one.train), len(one.test), len(two.train), len(two.test)) == (40, 10, 40, 10)
    assert one.test.y.bincount().tolist() == [5, 5], "in the proportions of the classes"
    assert torch.equal(two.test.x, x[40:])
    assert as_splits(two) is two
    assert as_splits((x, torch.randn(50, 4))).task == "regression"


@pytest.mark.parametrize("data", [torch.zeros(3, 2), (1, 2, 3), "circles", (torch.zeros(4, 2), torch.zeros(3))])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(InputError):
        as_splits(data)


def test_some_of_the_examples_are_those_that_were_chosen():
    examples = TensorExamples(torch.randn(9, 2), torch.arange(9))
    for one in (Chosen(examples, torch.tensor([7, 2, 5])), Chosen.of(examples, torch.tensor([7, 2, 5]))):
        x, y = one.batch(torch.tensor([2, 0]), 1)
        assert (len(one), y.tolist(), one.targets.tolist()) == (3, [5, 7], [7, 2, 5])
        assert torch.equal(x, examples.x[[5, 7]])
    assert torch.equal(Reconstructed(examples).batch(torch.tensor([1]), 1)[1], examples.x[[1]])
