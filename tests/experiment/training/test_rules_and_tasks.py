"""Every rule on every task: it trains by a recipe, or is refused before training with a sentence."""

from dataclasses import replace

import pytest
import torch

from altprop.experiment.data.examples import TensorExamples
from altprop.experiment.data.opening import open_data
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe, check_recipe
from altprop.experiment.registry import RULES
from altprop.experiment.training.fit import fit

CASES = {
    "classification": {"data": "circles", "model": {"name": "4", "activation": "tanh"}},
    "regression": {"data": "sine", "model": {"name": "4", "activation": "tanh"}},
    "reconstruction": {
        "data": {"name": "digits", "task": "reconstruction"},
        "model": {"name": "conv-autoencoder", "activation": "tanh"},
    },
}


def few(splits, count=8):
    """The first samples of each part."""
    numbers = torch.arange(count)
    parts = {part: TensorExamples(*getattr(splits, part).batch(numbers, 0)) for part in ("train", "test")}
    return replace(splits, **parts)


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_trains_for_every_task_that_it_is_for(rule, task):
    recipe = Recipe(**CASES[task], rule=rule, training={"epochs": 1, "batch_size": 4})
    splits = few(open_data(recipe.data))
    if task not in RULES[rule].tasks:
        with pytest.raises(InputError, match=f"rule '{rule}' is for .*{task}"):
            check_recipe(recipe)
        return
    check_recipe(recipe)
    trained = fit(recipe, seed=0, splits=splits)
    assert trained.status == "finished", trained.message
