"""The documentation of recipes is made from the schema."""

from pathlib import Path

from altprop.experiment.recipes import Recipe, shipped_recipes
from altprop.experiment.recipes.checks import keys
from altprop.experiment.recipes.describing import describe

DOCS = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_documentation_holds_every_key_as_the_schema_has_it():
    assert describe().replace("\n## ", "\n### ").removeprefix("## ") in DOCS, "run: altprop recipes schema"


def test_every_key_has_a_meaning():
    text = describe()
    assert all(f"| `{key.rpartition('.')[2]}` | " in text for key in keys(Recipe))
    assert "|  |" not in text


def test_the_documentation_names_every_shipped_recipe():
    assert [name for name in shipped_recipes() if f"`{name}`" not in DOCS] == []
