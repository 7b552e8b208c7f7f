"""The table of networks that were trained by a recipe."""

import pytest

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.fits_table import judged, row, terminal_table
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.training import EpochFigures, Fit, Training


def figures(epoch, **scores):
    return EpochFigures(epoch=epoch, step=epoch, lr=0.1, train_loss=0.5, train_score=0.9, **scores)


def trained(*history, **more):
    return Fit(**({"seed": 3, "lr": 0.1, "status": "finished", "history": history, "seconds": 1.25} | more))


def test_validation_data_choose_the_epoch_and_test_data_choose_nothing():
    chosen, last = figures(1, val_score=0.9, test_score=0.5), figures(2, val_score=0.8, test_score=0.7)
    assert judged(trained(chosen, last, best_epoch=1)) == chosen
    first, end = figures(1, test_score=0.9), figures(2, test_score=0.6)
    assert judged(trained(first, end, best_epoch=1)) == end


def test_a_row_says_what_there_is():
    fit = trained(figures(1, test_score=0.25), best_epoch=1)
    assert row(fit) == ["3", "0.1", "1", "1", "0.500", "–", "0.250", "1.2 s", ""]
    assert row(trained(status="diverged")) == ["3", "0.1", "0", "–", "–", "–", "–", "1.2 s", "diverged"]


@pytest.mark.parametrize(
    ("scores", "caption"), [((0.5,), "accuracy"), ((0.5, 0.7), "accuracy, test 0.600 ± 0.141 over 2 seeds")]
)
def test_several_seeds_are_averaged(scores, caption):
    data = DataFacts(
        name="circles", task="classification", input_shape=(2,), outputs=2, train=9, validation=0, test=9, classes=()
    )
    fits = tuple(trained(figures(1, test_score=score), seed=seed) for seed, score in enumerate(scores))
    table = terminal_table(Training(recipe=Recipe(), data=data, fits=fits))
    assert table.caption == caption
    assert table.row_count == len(scores)
