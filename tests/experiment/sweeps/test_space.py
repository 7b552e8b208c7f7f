"""The search space: what is drawn, what a grid is made of, and what is refused."""

import pytest

from altprop.experiment import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.sweeps.space import Space, with_values


@pytest.mark.parametrize(
    ("entry", "points"),
    [
        (["a", "b"], ["a", "b"]),
        ([[0.9, 0.99], None], ["[0.9, 0.99]", None]),
        ({"low": 1e-4, "high": 1e-1, "log": True}, [1e-4, 1e-3, 1e-2, 1e-1]),
        ({"low": 1e-3, "high": 1e-1, "log": True, "points": 5}, [0.001, 0.00316227766017, 0.01, 0.0316227766017, 0.1]),
        ({"low": 0.0, "high": 0.5, "step": 0.25}, [0.0, 0.25, 0.5]),
        ({"low": 1, "high": 4}, [1, 2, 3, 4]),
        ({"low": 1, "high": 8, "step": 3}, [1, 4, 7]),
        ({"low": 16, "high": 256, "log": True, "points": 3}, [16, 64, 256]),
    ],
)
def test_the_grid_of_an_entry(entry, points):
    assert [point["k"] for point in Space({"k": entry}).grid()] == points


def test_the_values_of_a_list_come_back_as_they_were():
    space = Space({"optimizer.betas": [[0.9, 0.99], [0.8, 0.9]]})
    assert space.values(space.grid()[1]) == {"optimizer.betas": [0.8, 0.9]}


def test_a_part_of_a_grid_is_drawn_from_all_of_it():
    space = Space({"a": list(range(10)), "b": list(range(10))})
    assert len(space.grid()) == 100
    part = space.grid(7)
    assert len(part) == 7 == len({tuple(point.items()) for point in part})
    assert all(point in space.grid() for point in part)
    assert space.grid(1000) == space.grid()


def test_a_fixed_key_drops_out_of_the_search_with_all_that_is_below_it():
    entries = {"rule.init": ["a"], "rule.epsilon": [0, 1], "model.norm": ["none"]}
    assert list(Space(entries, fixed=["rule"]).parts) == ["model.norm"]
    with pytest.raises(InputError, match=r"nothing to search. Every key of it is fixed: rule.init, rule.epsilon"):
        Space(entries, fixed=["rule", "model.norm"])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "there is nothing to search. Name a key and its values"),
        ({"model.norm": ["none", "bach"]}, "model.norm: 'bach' cannot be tried"),
        ({"optimizer.lr": [0.1, -1]}, "optimizer.lr: -1 cannot be tried. optimizer.lr: Input should be greater than 0"),
        ({"rule.name": ["backprop", "lpf"]}, "rule.name: 'lpf' cannot be tried.*Did you mean 'lfp'"),
        ({"optimizer.lr": 0.1}, "optimizer.lr: give a list of choices or"),
        ({"optimizer.lr": []}, "optimizer.lr: give a list of choices or"),
        ({"optimizer.lr": {"low": 0.1}}, "optimizer.lr: high: Field required"),
        ({"optimizer.lr": {"low": 0.1, "hihg": 1}}, "optimizer.lr: h.*: "),
        ({"optimizer.lr": {"low": 1, "high": 0.1}}, "optimizer.lr: low must be below high, got 1 and 0.1"),
        ({"optimizer.lr": {"low": 0, "high": 1, "log": True}}, "optimizer.lr: A range with log begins above 0"),
        ({"optimizer.lr": {"low": 1, "high": 9, "log": True, "step": 2}}, "either log or step"),
    ],
)
def test_what_cannot_be_searched_is_named(space, message):
    with pytest.raises(InputError, match=message):
        Space(space).check(Recipe())


def test_a_grid_needs_to_know_its_points_and_may_not_have_too_many():
    with pytest.raises(InputError, match=r"model.dropout: a grid needs to know its points"):
        Space({"model.dropout": {"low": 0.0, "high": 0.5}}).grid()
    with pytest.raises(InputError, match=r"the grid has 1,000,000 points. Search it with --search tpe or random"):
        Space({key: list(range(100)) for key in "abc"}).grid()


def test_values_that_fit_only_some_of_the_others_may_be_searched():
    space = {"model.name": ["lenet", "16"], "model.norm": ["none", "layer"]}
    Space(space).check(Recipe(model={"name": "lenet"}))


def test_values_of_a_recipe_are_changed_and_the_rest_is_kept():
    recipe = Recipe(rule={"name": "lfp", "epsilon": 0.1}, optimizer={"momentum": 0.5})
    changed = with_values(recipe, {"rule.epsilon": 0.5, "optimizer.lr": 0.1, "training.batch_size": 8})
    assert changed.rule.model_extra == {"epsilon": 0.5}
    assert (changed.optimizer.lr, changed.optimizer.momentum, changed.training.batch_size) == (0.1, 0.5, 8)
