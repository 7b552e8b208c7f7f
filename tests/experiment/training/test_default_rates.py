"""Every rule learns every embedded data set at the learning rate that it has where none is given."""

import pytest

from altprop.experiment import DATA
from altprop.experiment.data.opening import open_data
from altprop.experiment.recipes import Recipe
from altprop.experiment.registry import RULES
from altprop.experiment.training.fit import fit

# Hidden widths, steps, and how much of what there is to gain over chance (the commonest class, or the mean of the
# targets) is asked for: less where the time is short for any rule. All with tanh, since DRTP needs it.
SETS = {
    "digits": ("32", 150, 0.8),
    "mnist-5k": ("32", 150, 0.6),
    "mnist1d": ("64", 300, 0.15),
    "circles": ("32-32", 150, 0.25),
    "blobs": ("16-16", 150, 0.6),
    "swirl": ("32-32", 300, 0.3),
    "sine": ("16-16", 150, 0.5),
    "teacher-student": ("32", 150, 0.6),
    "drtp-classification": ("32", 150, 0.15),
    "drtp-regression": ("32", 150, 0.3),
}
# Adam and RMSprop on one set of each kind: images, points, numbers.
CASES = [("sgd", name) for name in SETS] + [(o, n) for o in ("adam", "rmsprop") for n in ("digits", "circles", "sine")]


def chance(splits):
    """What the best constant answer scores."""
    if splits.task == "regression":
        return 0.0
    counts = splits.test.targets.bincount()
    return float(counts.max() / counts.sum())


def test_every_embedded_set_is_learned():
    # Text is for transformers, which tests of networks train.
    assert SETS.keys() == DATA.keys() - {"python-text"}


@pytest.mark.parametrize(("optimizer", "name"), CASES)
def test_every_rule_learns_at_its_default_rate(optimizer, name):
    widths, steps, least = SETS[name]
    splits, failures = open_data(Recipe(data=name).data), {}
    for rule in RULES:
        if splits.task not in RULES[rule].tasks:
            assert rule == "drtp", "which is taught by classes alone"
            continue
        recipe = Recipe(
            data=name,
            model={"name": widths, "activation": "tanh"},
            rule=rule,
            optimizer=optimizer,
            training={"steps": steps},
        )
        trained = fit(recipe, seed=0, splits=splits)
        gain = (trained.history[-1].test_score - chance(splits)) / (1 - chance(splits)) if trained.history else 0.0
        if trained.status != "finished" or gain < least:
            failures[f"{rule} at {trained.lr:g}"] = f"{trained.status}, {gain:.2f} of what there is to gain"
    assert failures == {}


def test_lfp_learns_the_swirl_with_relu():
    """As in the README: at a rate of 1 all units die, and it stays at chance."""
    splits = open_data(Recipe(data="swirl").data)
    trained = fit(Recipe(data="swirl", model="64-64", rule="lfp", training={"epochs": 60}), seed=0, splits=splits)
    assert trained.history[-1].test_score > 0.95
