"""``altprop recipes``: what there is, and what can be said."""

from altprop.experiment.recipes import find_recipe, parse_recipe, shipped_recipes
from altprop.experiment.recipes.describing import describe


def test_the_shipped_recipes_are_listed(run):
    outcome = run("recipes")
    assert outcome.exit_code == 0
    assert all(name in outcome.stdout for name in shipped_recipes())


def test_a_recipe_is_shown_as_it_is_written(run):
    outcome = run("recipes", "show", "lfp-lenet-mnist")
    assert outcome.stdout == find_recipe("lfp-lenet-mnist").read_text(encoding="utf-8")
    parse_recipe(run("recipes", "show", "lfp-digits").stdout)


def test_a_recipe_that_there_is_not_is_named(run):
    outcome = run("recipes", "show", "lfp-digit")
    assert outcome.exit_code == 2
    assert "Did you mean 'lfp-digits'?" in outcome.stderr


def test_every_key_is_explained(run):
    assert run("recipes", "schema").stdout == describe()
