"""What is written of a recipe is read back as the same recipe."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from altprop.experiment.recipes import Recipe, dump_recipe
from altprop.experiment.recipes.reading import Tree, read_text
from altprop.experiment.recipes.schema import RuleSection

texts = st.text(max_size=20) | st.sampled_from(
    ["no", "1e-3", "010", "null", "~", "true", "1_0", "a: b", "- x", "#", ".inf"]
)
fractions = st.floats(0, 1, exclude_max=True)
rates = st.floats(1e-30, 1e30)
counts = st.integers(1, 1024)
values = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | texts
nested = st.recursive(
    values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2), max_leaves=4
)
recipes = st.builds(
    lambda **parts: Recipe.model_validate(parts),
    summary=texts,
    data=st.fixed_dictionaries({"name": texts, "validation": fractions, "root": st.none() | st.just(Path("a/b"))}),
    model=st.fixed_dictionaries({"name": texts, "dropout": fractions}),
    rule=st.builds(lambda name, **more: RuleSection(name=name, **more), texts, epsilon=nested, blocks=nested),
    optimizer=st.fixed_dictionaries({"lr": st.none() | rates, "betas": st.tuples(fractions, fractions)}),
    scheduler=st.fixed_dictionaries({"epochs": st.lists(counts, max_size=3), "warmup": st.none() | fractions}),
    training=st.fixed_dictionaries(
        {"seeds": st.lists(st.integers(0, 2**31), max_size=3), "epochs": st.none() | counts}
    ),
    machine=st.fixed_dictionaries({"devices": counts | st.just("auto")}),
    search=st.none() | st.fixed_dictionaries({"space": st.dictionaries(texts, nested, max_size=3)}),
)


@settings(deadline=None, max_examples=60)
@given(recipes)
@example(Recipe(rule=RuleSection(name="lfp", epsilon=[float("inf"), float("-inf")])))
def test_a_recipe_is_read_back_as_it_was(recipe):
    assert Recipe.model_validate(read_text(dump_recipe(recipe), "recipe").values) == recipe


@pytest.mark.parametrize("section", Recipe.model_fields)
def test_every_section_is_written(section):
    assert section in read_text(dump_recipe(Recipe()), "recipe").values


def test_a_place_is_that_of_the_nearest_key_that_was_given():
    tree = Tree("r.yaml", places={("data",): "r.yaml:1: ", ("data", "name"): "r.yaml:2: ", ("a", "b"): "-o "})
    assert tree.complaint(("data", "name"), "x") == "r.yaml:2: data.name: x"
    assert tree.complaint(("data", "seed"), "x") == "r.yaml:1: data.seed: x"
    assert tree.complaint(("a",), "x") == "-o a: x"
    assert tree.complaint(("model",), "x") == "r.yaml: model: x"
