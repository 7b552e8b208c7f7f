"""The choice of a learning rate."""

import pytest

from altprop.experiment import load_data
from altprop.experiment.old_training import Job
from altprop.experiment.results import Trial
from altprop.experiment.search import best_rate, try_rate
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import StopsAt, poison, tiny


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


def job(rule="backprop"):
    settings = tiny(rules=rule)
    return Job(settings, load_data("circles").hold_out(), rule, 0, 0.1)


def test_a_trial_is_the_end_of_a_run():
    tried = try_rate(job(), Watch())
    assert (tried.rule, tried.lr) == ("backprop", 0.1)
    assert 0 < tried.score < 1
    assert tried.loss > 0


def test_a_rate_that_diverges_has_no_score(register):
    register("bad", poison("linear1.weight", 8))
    assert try_rate(job("bad"), Watch()) == Trial(rule="bad", lr=0.1, score=None, loss=None)


def test_a_trial_can_be_stopped():
    with pytest.raises(KeyboardInterrupt):
        try_rate(job(), StopsAt(steps=6))
