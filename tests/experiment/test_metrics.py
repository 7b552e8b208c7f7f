"""Accuracy, R² and squared error against their definitions."""

import pytest
import torch

from altprop.experiment.metrics import METRICS, score


def test_accuracy_counts_every_sample_alike():
    generator = torch.Generator().manual_seed(0)
    output, classes = torch.randn(50, 3, generator=generator), torch.randint(2, (50,), generator=generator)
    right = sum(
        max(range(3), key=row.__getitem__) == c for row, c in zip(output.tolist(), classes.tolist(), strict=True)
    )
    assert score("classification", output, classes) == pytest.approx(right / 50)


def test_r2_is_averaged_over_outputs():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 40, 3, generator=generator)
    target *= torch.tensor([1.0, 10.0, 0.1])
    each = []
    for o, y in zip(output.T.tolist(), target.T.tolist(), strict=True):
        mean = sum(y) / 40
        each.append(1 - sum((b - a) ** 2 for a, b in zip(o, y, strict=True)) / sum((b - mean) ** 2 for b in y))
    assert score("regression", output, target) == pytest.approx(sum(each) / 3, rel=1e-5)


def test_the_error_of_a_reconstruction_is_the_mean_over_all_its_numbers():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 40, 3, generator=generator)
    squares = [(a - b) ** 2 for a, b in zip(output.flatten().tolist(), target.flatten().tolist(), strict=True)]
    assert score("reconstruction", output, target) == pytest.approx(sum(squares) / 120, rel=1e-5)


@pytest.mark.parametrize(("task", "better", "worse"), [("classification", 0.9, 0.8), ("reconstruction", 0.1, 0.2)])
def test_a_gain_is_positive_for_the_better_score(task, better, worse):
    assert METRICS[task].gain(better, worse) == pytest.approx(0.1)


@pytest.mark.parametrize(("guess", "expected"), [(2.0, 1.0), (2.5, 0.0)])
def test_r2_of_targets_that_are_all_the_same_is_finite(guess, expected):
    """As scikit-learn has it: a perfect prediction is worth 1, any other 0."""
    assert score("regression", torch.full((5, 1), guess), torch.full((5, 1), 2.0)) == expected
