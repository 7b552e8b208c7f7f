"""Recipes are read from YAML: what is wrong is named with its line, its key and what would be right."""

from pathlib import Path

import pytest

from altprop.experiment import InputError
from altprop.experiment.recipes import Recipe, load_recipe, parse_recipe
from altprop.experiment.recipes.schema import RuleSection


def complaints(text, *overrides):
    with pytest.raises(InputError) as caught:
        parse_recipe(text, overrides, source="recipe.yaml")
    return str(caught.value).splitlines()


def test_a_file_is_read_and_what_it_does_not_say_has_its_default(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data:\n  name: mnist-5k\n  validation: 0.1\nrule:\n  name: lfp\n  epsilon: 0\n", encoding="utf-8")
    wanted = Recipe(data={"name": "mnist-5k", "validation": 0.1}, rule=RuleSection(name="lfp", epsilon=0))
    assert load_recipe(path) == wanted
    assert wanted.training.batch_size == 64


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optimizer: {lr: 1e-3}", "optimizer.lr", 0.001),
        ("optimizer: {lr: .5}", "optimizer.lr", 0.5),
        ("training: {epochs: 010, steps: }", "training.epochs", 10),
        ("training: {epochs: 1e1}", "training.epochs", 10),
        ("model: {norm: none}", "model.norm", "none"),
        ("model: {name: 256}", "model.name", "256"),
        ("model: 64", "model.name", "64"),
        ("model: lenet\ndata: mnist-5k", "model.name", "lenet"),
        ("data: cifar-10:/data", "data.root", Path("/data")),
        ("data: hf:some/set", "data.name", "hf:some/set"),
        ("data: {augment: yes}", "data.augment", True),
        ("data: {augment: off}", "data.augment", False),
        ("summary: no", "summary", "no"),
        ("summary: 2020-02-02", "summary", "2020-02-02"),
        ("summary: 12:30", "summary", "12:30"),
        ("training: {seeds: 3}", "training.seeds", (0, 1, 2)),
        ("training: {seeds: [7]}", "training.seeds", (7,)),
        ("track: {metrics: sparsity}", "track.metrics", ("sparsity",)),
        ("track: {top_k: 5}", "track.top_k", (5,)),
        ("optimizer: {betas: [0.5, 0.6]}", "optimizer.betas", (0.5, 0.6)),
        ("search: \n", "search", None),
        ("rule: lfp:epsilon=0,update=oja", "rule", RuleSection(name="lfp", epsilon=0, update="oja")),
        ("rule: {name: lfp, epsilon: 1e-2}", "rule", RuleSection(name="lfp", epsilon=0.01)),
    ],
)
def test_yaml_means_what_it_says(text, key, value):
    found = parse_recipe(text)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optimizer.lr=0.01", "optimizer.lr", 0.01),
        ("optimizer.lr=1e-2", "optimizer.lr", 0.01),
        ("model=lenet", "model.name", "lenet"),
        ("model.activation=tanh", "model.activation", "tanh"),
        ("rule=lfp:epsilon=0", "rule", RuleSection(name="lfp", epsilon=0)),
        ("rule.init=orthogonal", "rule", RuleSection(name="fa", init="orthogonal")),
        ("training.seeds=2", "training.seeds", (0, 1)),
        ("training.seeds=7,", "training.seeds", (7,)),
        ("training.seeds=0,1,7", "training.seeds", (0, 1, 7)),
        ("track.metrics=sparsity,norms", "track.metrics", ("sparsity", "norms")),
        ("track.loggers=[]", "track.loggers", ()),
        ("data.root=", "data.root", None),
        ("scheduler={name: step, epochs: [3, 5]}", "scheduler.epochs", (3, 5)),
        ("data.augment=on", "data.augment", True),
    ],
)
def test_an_override_changes_one_key(override, key, value):
    found = parse_recipe("data: mnist-5k\nmodel: 256-256\nrule: fa", [override])
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_the_last_override_wins():
    assert parse_recipe("data: sine", ["optimizer.lr=1", "optimizer.lr=2"]).optimizer.lr == 2


def test_a_key_of_a_search_space_keeps_its_dots():
    text = "data: {validation: 0.1}\nsearch: {space: {model.dropout: [0, 0.1]}}"
    recipe = parse_recipe(text, ["search.space.optimizer.lr=[0.1, 0.2]"])
    assert recipe.search.space == {"model.dropout": [0, 0.1], "optimizer.lr": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("optimizer:\n  lrr: 0.1", "2: optimizer.lrr: there is no such key. Did you mean 'lr'?"),
        ("optimiser:\n  lr: 0.1", "1: optimiser: there is no such key. Did you mean 'optimizer'?"),
        ("data:\n  xyz: 3", "2: data.xyz: there is no such key. Known: name, root, download, "),
        ("training:\n  epochs: many", "2: training.epochs: Input should be a valid integer"),
        ("training:\n  epochs: true", "2: training.epochs: this is no switch: it cannot be true or false; got True."),
        ("training:\n  epochs: 0", "2: training.epochs: Input should be greater than or equal to 1, got 0."),
        ("optimizer:\n  lr: .nan", "2: optimizer.lr: Input should be "),
        (
            "optimizer:\n\n  name: sdg",
            "3: optimizer.name: Input should be 'sgd', 'adam', 'adamw' or 'rmsprop', got 'sdg'.",
        ),
        ("machine:\n  devices: many", "2: machine.devices: Input should be a valid integer"),
        ("scheduler:\n  epochs: [1, x]", "2: scheduler.epochs: Input should be a valid integer"),
        ("training: 5", "1: training: this is a section, with the keys epochs, steps, "),
        ("data: [1]", "1: data: this is a section, with the keys name, "),
        ("training:\n  early_stopping: {}", "2: training.early_stopping.patience: this key is needed."),
        ("data:\n\tname: digits", "2: there is a tab. YAML is indented with spaces."),
        ("data: digits\ndata: sine", "2: data: this key is given twice, first at recipe.yaml:1."),
        ("data: digits\nmodel", "2: this line is not a key with a colon: write key: value."),
        ("summary: one: two", "1: there is a colon too many: put text that has a colon in quotes"),
        ("summary: 'open\ndata: x", "2: this is not YAML: "),
        ("data: &a {name: digits}\nmodel: *a", "2: aliases (&name, *name) are not used in recipes"),
        ("data: !mine 3", "1: data: tags (!name)"),
        ("- digits", "1: a recipe is made of sections such as data, model and rule"),
        ("", " there is nothing in it."),
        ("? [data]\n: 3", "1: a key is a name."),
        ("data:\n  name: digit", "2: data.name: There is no data set 'digit'. Did you mean 'digits'?"),
        ("model: lenett", "1: model.name: There is no model 'lenett'. Did you mean 'lenet'?"),
        ("model:\n  activation: rellu", "2: model.activation: There is no activation 'rellu'. Did you mean 'relu'?"),
        ("rule: lpf", "1: rule.name: There is no rule 'lpf'. Did you mean 'lfp'?"),
        (
            "rule:\n  name: lfp\n  epsilom: 1",
            "3: rule.epsilom: There is no argument of the rule 'lfp' called 'epsilom'.",
        ),
        ("rule: lfp:epsilon=-1", "1: rule: The rule 'lfp:epsilon=-1' cannot be made: "),
        ("rule: lfp:x", "1: rule: The arguments of a rule are written name=value, got 'x' in 'lfp:x'."),
        ("objective: softmx", "1: objective.name: There is no objective 'softmx'. Did you mean 'softmax'?"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, complaint):
    (line,) = complaints(text)
    assert line.startswith(f"recipe.yaml:{complaint}")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("optimizer.lrr=1", "-o optimizer.lrr: there is no such key. Did you mean 'lr'?"),
        ("optimizer.lr=fast", "-o optimizer.lr: Input should be a valid number"),
        ("optimizer.lr", "-o optimizer.lr: a change is written KEY=VALUE, such as optimizer.lr=0.01."),
        ("=3", "-o =3: a change is written KEY=VALUE"),
        ("data..name=3", "-o data..name=3: a change is written KEY=VALUE"),
        ("summary=a: [", "-o summary: this is not YAML: "),
        ("data.x.y=3", "-o data.x: there is no such key."),
        ("rule.epsilon=1", "-o rule.epsilon: There is no argument of the rule 'fa' called 'epsilon'."),
        ("training.steps=5", "-o training.steps: training.epochs is given too: leave one of them out."),
    ],
)
def test_what_is_wrong_with_an_override_is_named(override, complaint):
    (line,) = complaints("rule: fa\ntraining: {epochs: 3}", override)
    assert line.startswith(complaint)


def test_all_that_is_wrong_is_named_at_once():
    lines = complaints("optimizer:\n  lrr: 1\n  name: sdg\nx: 3")
    assert [line.partition(": ")[0] for line in lines] == ["recipe.yaml:3", "recipe.yaml:2", "recipe.yaml:4"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \x01"])
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"recipe\.yaml: "):
        load_recipe(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, name):
    with pytest.raises(InputError, match="the recipe cannot be read: "):
        load_recipe(tmp_path / name)


def test_nesting_without_end_is_refused():
    assert complaints("a: " + "[" * 100_000) == ["recipe.yaml:1: this is nested too deeply for a recipe."]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("model: lif-mlp", ("atan", "none", "adam", "spike-rate")),
        ("model: lif-resnet\ndata: mnist-5k", ("atan", "batch", "adam", "spike-rate")),
        ("model: {name: lif-8, activation: step}\noptimizer: {name: sgd}", ("step", "none", "sgd", "spike-rate")),
        ("model: lif-8\nobjective: first-spike\noptimizer: {lr: 1}", ("atan", "none", "adam", "first-spike")),
        ("model: '8'", ("relu", "none", "sgd", None)),
    ],
)
def test_a_spiking_network_brings_its_own_defaults(text, values):
    recipe = parse_recipe(text)
    assert (recipe.model.activation, recipe.model.norm, recipe.optimizer.name, recipe.objective.name) == values
