"""The choice of a learning rate."""

import pytest
import torch

from altprop.experiment import InputError, load_data
from altprop.experiment.records.study import Trial
from altprop.experiment.training.job import Job
from altprop.experiment.training.machine import Alone
from altprop.experiment.training.rates import best_rate, held_out, trial_jobs, try_rate
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import StopsAt, own_data, poison
from tests.experiment.training.toys import toy

CPU = Alone(torch.device("cpu"))


def trial(lr, score, loss):
    return Trial(rule="lfp", lr=lr, score=score, loss=loss)


@pytest.mark.parametrize(
    ("trials", "lr"),
    [
        ([(0.1, 0.5, 1.0), (0.3, 0.9, 2.0), (1.0, 0.7, 0.1)], 0.3),
        ([(0.1, 0.9, 1.0), (0.3, 0.9, 0.5), (1.0, 0.7, 0.1)], 0.3),
        ([(0.1, -2.0, 1.0), (0.3, None, None)], 0.1),
        ([(0.3, None, None), (0.1, None, None), (1.0, None, None)], 0.1),
        ([(0.1, 0.0, 0.0), (0.3, -1.0, 0.0)], 0.1),
    ],
    ids=["the best score", "equal scores", "one diverged", "all diverged", "scores of zero"],
)
def test_the_rate_with_the_best_score_is_taken(trials, lr):
    assert best_rate((trial(*each) for each in trials), "classification") == lr


def test_of_errors_the_lowest_is_best():
    assert best_rate([trial(0.1, 0.3, 1.0), trial(0.3, 0.2, 2.0), trial(1.0, 0.5, 0.1)], "reconstruction") == 0.3


def jobs(rule="backprop"):
    recipe = toy(rule=rule, track={"metrics": ["bp_cosine"]})
    return trial_jobs(Job(recipe, load_data("circles"), 0), [0.1, 0.3], held_out(load_data("circles")))


def test_a_trial_is_the_end_of_a_training_that_measures_nothing():
    (job, other) = jobs()
    assert (job.lr, other.lr, job.recipe.track.metrics, job.recipe.track.loggers) == (0.1, 0.3, (), ())
    tried = try_rate(job, CPU, Watch(), 0)
    assert (tried.rule, tried.lr) == ("backprop", 0.1)
    assert 0 < tried.score < 1
    assert tried.loss > 0


def test_a_rate_that_diverges_has_no_score(register):
    register("bad", poison("linear1.weight", 6))
    assert try_rate(jobs("bad")[0], CPU, Watch(), 0) == Trial(rule="bad", lr=0.1, score=None, loss=None)


def test_a_trial_can_be_stopped():
    with pytest.raises(KeyboardInterrupt):
        try_rate(jobs()[0], CPU, StopsAt(steps=6), 0)


def pairs(*parts):
    return sorted((*x.tolist(), int(y)) for part in parts for x, y in zip(part.x, part.y, strict=True))


def test_a_fifth_is_held_out_the_same_way_each_time():
    data = own_data()
    held, again = held_out(data), held_out(data)
    assert (len(held.train), len(held.validation), held.test) == (32, 8, held.validation)
    assert torch.equal(held.test.x, again.test.x)
    assert pairs(held.train, held.validation) == pairs(data.train)


def test_holding_out_does_not_look_at_the_test_data():
    data = own_data()
    other = own_data(x_test=data.test.x + 1, y_test=1 - data.test.y)
    for part in ("train", "test"):
        assert pairs(getattr(held_out(data), part)) == pairs(getattr(held_out(other), part))


def test_too_few_samples_to_hold_out_are_refused():
    with pytest.raises(InputError, match="1 training samples are too few"):
        held_out(own_data(x_train=torch.zeros(1, 3), y_train=torch.zeros(1, dtype=torch.int64)))
