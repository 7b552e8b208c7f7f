"""Losses and rewards by name."""

import math

import pytest
import torch

from altprop.experiment import InputError, make_objective
from altprop.experiment.objectives import DEFAULT_OBJECTIVE, LOSSES, tasks_of
from altprop.rewards import REWARDS

TARGETS = {"classification": torch.tensor([0, 2, 1, 2]), "regression": torch.linspace(-1, 1, 12).view(4, 3)}
PAIRS = [(name, task) for name in [*LOSSES, *REWARDS] for task in TARGETS]


@pytest.mark.parametrize(("name", "task"), [pair for pair in PAIRS if pair[1] in tasks_of(pair[0])])
def test_every_objective_gives_one_finite_number_with_a_gradient(name, task):
    output = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = make_objective(name, task)(output, TARGETS[task])
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    assert output.grad.isfinite().all()
    assert output.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "task"), [pair for pair in PAIRS if pair[1] not in tasks_of(pair[0])])
def test_an_objective_for_another_task_is_refused_with_those_that_fit(name, task):
    with pytest.raises(InputError, match=f"{name!r} is not for {task}. For {task}: .*{DEFAULT_OBJECTIVE[task]}"):
        make_objective(name, task)


def test_there_is_something_for_each_task():
    assert {task for name, task in PAIRS if task in tasks_of(name)} == set(TARGETS)
    assert all(task in tasks_of(name) for task, name in DEFAULT_OBJECTIVE.items())


def test_the_squared_error_of_classes_is_the_distance_to_their_one_hot_form():
    output, classes = torch.tensor([[0.5, 0.0, 1.0], [0.0, 2.0, 0.0]]), torch.tensor([2, 0])
    distances = [0.5**2 + 0**2 + 0**2, 1**2 + 2**2 + 0**2]
    assert make_objective("mse", "classification")(output, classes).item() == pytest.approx(sum(distances) / 2)


def test_the_binary_cross_entropy_takes_logits_or_probabilities_and_means_over_all():
    z, classes = torch.tensor([[0.5, -1.0, 3.0], [0.0, 2.0, -4.0]]), torch.tensor([2, 0])
    p = [[1 / (1 + math.exp(-one)) for one in row] for row in z.tolist()]
    right = [p[0][2], p[1][0], 1 - p[0][0], 1 - p[0][1], 1 - p[1][1], 1 - p[1][2]]
    expected = pytest.approx(-sum(map(math.log, right)) / 6, rel=1e-5)
    assert make_objective("bce", "classification")(z, classes).item() == expected
    of_probabilities = make_objective("bce", "classification", output="sigmoid")
    assert of_probabilities(z.sigmoid(), classes).item() == expected
    certain = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        of_probabilities(certain, torch.tensor([1])).backward()
    assert certain.grad.isfinite().all()


def test_the_closest_match_is_named():
    with pytest.raises(InputError, match=r"no objective 'cross_entropy'\. Did you mean 'cross-entropy'.*Known: .*mse"):
        make_objective("cross_entropy", "classification")
