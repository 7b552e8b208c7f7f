"""The documentation of recipes is made from the schema."""

import re
from pathlib import Path

from altprop.experiment.recipes import Recipe, parse_recipe, shipped_recipes
from altprop.experiment.recipes.checks import keys
from altprop.experiment.recipes.describing import describe

HOUSE = Path(__file__).parents[3]
DOCS = (HOUSE / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_documentation_holds_every_key_as_the_schema_has_it():
    assert describe().replace("\n## ", "\n### ").removeprefix("## ") in DOCS, "run: altprop recipes schema"


def test_every_key_has_a_meaning():
    text = describe()
    assert all(f"| `{key.rpartition('.')[2]}` | " in text for key in keys(Recipe))
    assert "|  |" not in text


def test_the_documentation_names_every_shipped_recipe():
    assert [name for name in shipped_recipes() if f"`{name}`" not in DOCS] == []


def test_the_recipe_of_the_readme_can_be_run():
    (text,) = re.findall(r"```yaml\n(.*?)```", (HOUSE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    recipe = parse_recipe(text, source="README.md")
    assert recipe.training.seeds == (0, 1, 2)
    assert recipe.search is not None
