"""The recipes that come with altprop: all can be loaded, and those on embedded data run."""

import pytest

from altprop.experiment import InputError
from altprop.experiment.data.embedded import DATA
from altprop.experiment.recipes import find_recipe, load_recipe, shipped_recipes
from altprop.experiment.recipes.reading import read_file
from altprop.experiment.training.fit import fit

NAMES = list(shipped_recipes())


def data_of(name):
    section = read_file(find_recipe(name)).values.get("data", "digits")
    return section if isinstance(section, str) else section["name"]


SEVERAL = {"compare", "demo", "demo-steps"}  # rules side by side
EMBEDDED = [name for name in NAMES if data_of(name) in DATA and name not in SEVERAL]
SHORT = ["training.epochs=", "training.steps=2", "machine.threads=1"]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_can_be_loaded_and_says_what_it_is(name):
    recipe = load_recipe(find_recipe(name))
    assert len(recipe.summary) > 40
    # Whose settings they are, and what the recipe should reach: nothing is left open.
    assert any(word in recipe.summary for word in ("ours", "defaults", "settings", "Settings", "as they stand"))


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_recipes_on_embedded_data_run(name):
    trained = fit(load_recipe(find_recipe(name), SHORT), seed=0)
    assert trained.status == "finished"
    assert trained.history[-1].step == 2


def test_the_literature_is_covered():
    papers = ("lfp-lenet-mnist", "lfp-vgg-cifar10", "lfp-vgg-cifar100", "drtp-fc-mnist", "drtp-conv-cifar10")
    rules = ("bp", "fa", "usf", "brsf", "frsf", "dfa")
    benchmarks = [f"biotorch-{of}-{rule}" for of in ("lenet-mnist", "resnet20-cifar10") for rule in rules]
    others = ("bpfree-local-loss-mnist", "bioflax-fa-teacher-student", "bioflax-fa-sine")
    assert {*papers, *benchmarks, *others} <= set(NAMES)
    assert all("To meet: " in load_recipe(find_recipe(name)).summary for name in [*benchmarks, "lfp-lenet-mnist"])


def test_the_recipes_of_a_family_differ_in_their_rule_alone():
    of_fa, of_bp = (read_file(find_recipe(f"biotorch-resnet20-cifar10-{rule}")).values for rule in ("fa", "bp"))
    same = of_fa.keys() - {"rule", "summary", "track"}
    assert {key: of_fa[key] for key in same} == {key: of_bp[key] for key in same}


def test_a_file_goes_before_a_shipped_recipe_and_the_folder_of_a_run_has_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("lfp-digits").parent.name == "library"
    (tmp_path / "lfp-digits").write_text("data: sine")
    assert find_recipe("lfp-digits").parent.name != "library"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("data: sine")
    assert find_recipe("run").name == "recipe.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lfp-digit", "no recipe of this name comes with altprop. Did you mean 'lfp-digits'?"),
        ("lfp-digits.yaml", "There is no file lfp-digits.yaml. Did you mean 'lfp-digits'?"),
        (".", "this is a folder without a recipe.yaml"),
    ],
)
def test_a_recipe_that_there_is_not_is_named(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_recipe(name)
    assert message in str(caught.value)
