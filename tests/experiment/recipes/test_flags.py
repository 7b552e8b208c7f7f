"""Flags are keys of a recipe: what they say, what is refused, and the command that repeats a recipe."""

import shlex

import pytest
import torch

from altprop.experiment import RULES, InputError
from altprop.experiment.networks.names import ACTIVATIONS, BOUNDED
from altprop.experiment.recipes import Recipe, parse_recipe
from altprop.experiment.recipes.flags import FLAGS, command_line, make_recipe
from altprop.experiment.recipes.rules import left_out, recipe_of_cell, with_rules_for
from altprop.experiment.recipes.schema import RuleSection
from altprop.experiment.training.job import lr_of


def labels(recipe):
    return tuple(rule.label for rule in recipe.rules)


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({"data": "mnist-5k"}, "data.name=mnist-5k"),
        ({"rules": "lfp,dfa"}, "rule=[lfp, dfa]"),
        ({"rules": ["lfp:gamma=0.1,minimum_scale=0.001"]}, "rule=['lfp:gamma=0.1,minimum_scale=0.001']"),
        ({"rules": "lfp:gamma=0.1,minimum_scale=0.001"}, "rule={name: lfp, gamma: 0.1, minimum_scale: 0.001}"),
        ({"seeds": 2}, "training.seeds=[0, 1]"),
        ({"seeds": "2"}, "training.seeds=[0, 1]"),
        ({"seeds": "7,"}, "training.seeds=[7]"),
        ({"seeds": "0,1,7"}, "training.seeds=[0, 1, 7]"),
        ({"seeds": (4, 2)}, "training.seeds=[4, 2]"),
        ({"lr": "0.5"}, "optimizer.lr=0.5"),
        ({"lr": "lfp=0.5,backprop=1e-3"}, "optimizer.lr={lfp: 0.5, backprop: 1e-3}"),
        ({"lr": {"lfp": 0.5}}, "optimizer.lr={lfp: 0.5}"),
        ({"rules": "lfp:epsilon=0", "lr": "lfp:epsilon=0=0.5"}, "optimizer.lr={'lfp:epsilon=0': 0.5}"),
        ({"lr_grid": "0.3, 0.1"}, "optimizer.lr_grid=[0.3, 0.1]"),
        ({"model": "64"}, "model=64"),
        ({"track": "sparsity,norms"}, "track.metrics=[sparsity, norms]"),
    ],
)
def test_a_flag_says_what_a_change_of_its_key_does(given, change):
    rules = {"rules": given["rules"]} if "epsilon" in str(given.get("lr")) else {}
    assert make_recipe("train", flags=given) == make_recipe("train", [change], rules)


def test_every_flag_is_a_key_of_the_recipe():
    for key in FLAGS.values():
        section = Recipe()
        for part in key.split("."):
            section = getattr(section, part)


BAD = {
    "data": ({"data": "digit"}, "--data: There is no data set 'digit'. Did you mean 'digits'"),
    "model": ({"model": "lenet5"}, "--model: There is no model 'lenet5'. Did you mean 'lenet'"),
    "rule": ({"rules": "lfp,shalow"}, "--rules: There is no rule 'shalow'. Did you mean 'shallow'"),
    "argument": ({"rules": "lfp:epsilom=1"}, "--rules: There is no argument of the rule 'lfp' called 'epsilom'"),
    "objective": ({"objective": "softmx"}, "--objective: There is no objective 'softmx'. Did you mean 'softmax'"),
    "activation": ({"activation": "rely"}, "--activation: There is no activation 'rely'. Did you mean 'relu'"),
    "flag": ({"epoch": 3}, "no setting 'epoch'. Did you mean 'epochs'"),
    "optimizer": ({"optimizer": "adagrad"}, "--optimizer: Input should be"),
    "norm": ({"norm": "group"}, "--norm: "),
    "epochs": ({"epochs": 0}, "--epochs: "),
    "batch size": ({"batch_size": 0}, "--batch-size: "),
    "batch norm of one": ({"batch_size": 1, "norm": "batch"}, "--batch-size: batch norm needs 2 samples or more"),
    "momentum": ({"momentum": 1.0}, "--momentum: "),
    "clip": ({"clip": float("nan")}, "--clip: "),
    "rate of zero": ({"lr": 0}, "--lr: "),
    "infinite rate": ({"lr": ".inf"}, "--lr: "),
    "a rate in words": ({"lr": "fast"}, "--lr: Input should be a valid number"),
    "rates in words": ({"lr": "lfp="}, "--lr: a learning rate is a number, or rule=number for each rule; got 'lfp='"),
    "rate of a rule that is not run": ({"rules": "lfp", "lr": "lpf=0.1"}, "called 'lpf'. Did you mean 'lfp'"),
    "rate and grid": ({"lr": 0.1, "lr_grid": "0.1,0.2"}, "--lr-grid: optimizer.lr is given too: give either"),
    "no rules": ({"rules": []}, "--rules: at least one is needed"),
    "no seeds": ({"seeds": 0}, "--seeds: at least one is needed"),
    "negative seed": ({"seeds": "-1,2"}, "--seeds: "),
    "seeds in words": ({"seeds": "three"}, "--seeds: "),
    "a rule twice": ({"rules": "lfp,lfp"}, "--rules: 'lfp' is named twice"),
    "a seed twice": ({"seeds": "1,1"}, "--seeds: one is named twice"),
    "a rate twice": ({"lr_grid": "0.1,0.1"}, "--lr-grid: a rate is named twice"),
    "arguments for all": ({"rules": "all:epsilon=1"}, "'all' stands for every rule, and takes no arguments"),
    "threads": ({"threads": 0}, "--threads: "),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_refused_by_the_name_of_the_flag_with_what_would_be_right(case):
    given, message = BAD[case]
    with pytest.raises(InputError) as refused:
        make_recipe("train", flags=given, before="--")
    assert message in str(refused.value)


def test_in_a_file_a_rule_of_a_list_is_named_with_its_line():
    with pytest.raises(InputError, match=r"recipe:3: rule\.1\.name: There is no rule 'shalow'"):
        parse_recipe("rule:\n  - lfp\n  - shalow\n")
    with pytest.raises(InputError, match=r"rule\.epsilon: rule is a list here"):
        parse_recipe("rule: [lfp, dfa]", ["rule.epsilon=0"])


@pytest.mark.parametrize(
    ("rules", "all_rules"),
    [
        ("lfp", ("backprop", "lfp", "shallow")),
        ("shallow", ("backprop", "shallow")),
        ("lfp,backprop", ("lfp", "backprop", "shallow")),
        ("shallow,lfp,backprop", ("shallow", "lfp", "backprop")),
    ],
)
def test_the_baselines_are_added_where_they_are_missing(rules, all_rules):
    assert labels(with_rules_for(Recipe(rule=rules), "classification", baselines=True)) == all_rules


@pytest.mark.parametrize("task", ["classification", "regression", "reconstruction"])
@pytest.mark.parametrize("baselines", [True, False])
def test_all_rules_are_those_that_are_fit_for_the_task(task, baselines):
    fit = tuple(name for name, entry in RULES.items() if task in entry.tasks)
    model = {"activation": "tanh"}
    assert labels(with_rules_for(Recipe(rule="all", model=model), task, baselines=baselines)) == fit
    more = with_rules_for(Recipe(rule="lfp:epsilon=0,all", model=model), task, baselines=baselines)
    assert labels(more) == ("lfp:epsilon=0", *fit)


def test_a_rule_that_cannot_work_is_left_out_of_all_and_named():
    """DRTP with ReLU: the paper's signal does not shrink with the error, and an unbounded activation grows."""
    recipe = Recipe(rule="all", model={"activation": "relu"})
    assert "drtp" not in labels(with_rules_for(recipe, "classification"))
    assert list(left_out(recipe, "classification")) == ["drtp"]
    assert left_out(recipe, "regression") == {}, "there it is left out for its task"
    for activation in BOUNDED:
        bounded = Recipe(rule="all", model={"activation": activation})
        assert "drtp" in labels(with_rules_for(bounded, "classification"))
        assert left_out(bounded, "classification") == {}
    named = Recipe(rule="drtp,all")
    assert "drtp" in labels(with_rules_for(named, "classification"))
    assert left_out(named, "classification") == {}
    assert left_out(Recipe(rule="lfp"), "classification") == {}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bounded_activations_are_bounded(name):
    far = ACTIVATIONS[name]()(torch.tensor([-1e4, 1e4])).abs().max()
    assert (far <= 1) == (name in BOUNDED)


def test_a_rate_is_that_of_the_label_or_the_name_or_the_default():
    recipe = Recipe(rule="lfp,lfp:epsilon=0", optimizer={"lr": {"lfp": 0.5, "lfp:epsilon=0": 0.25}})
    given = {rule: lr_of(recipe, rule) for rule in (*recipe.rules, RuleSection(name="lfp", gamma=1))}
    assert list(given.values()) == [0.5, 0.25, 0.5]
    assert lr_of(recipe, RuleSection(name="shallow")) == RULES["shallow"].lr["sgd"]
    assert lr_of(Recipe(optimizer={"name": "adamw"}), RuleSection(name="lfp")) == RULES["lfp"].lr["adam"]
    assert recipe_of_cell(recipe, recipe.rules[1]).optimizer.lr == 0.25


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("compare", {}),
        ("train", {}),
        ("compare", {"data": "sine", "model": "8-8", "rules": "lfp:gamma=0.1,minimum_scale=0.001,dfa", "seeds": "7,"}),
        ("compare", {"task": "reconstruction"}),
        ("compare", {"rules": "lfp,backprop", "lr": "lfp=0.5,backprop=0.05", "seeds": "0,2", "optimizer": "adam"}),
        ("compare", {"lr_grid": "0.3,0.1", "clip": 0, "activation": "step", "epochs": 2, "batch_size": 5}),
        ("train", {"model": "torchvision:resnet18", "pretrained": True, "epochs": 1, "data": "mnist-5k"}),
        ("train", {"dropout": 0.25, "validation": 0.1, "precision": "64-true"}),
    ],
)
def test_the_command_repeats_the_recipe(verb, flags):
    def resolved(recipe):
        task = "regression" if recipe.data.name == "sine" else recipe.data.task or "classification"
        return with_rules_for(recipe, task, baselines=verb == "compare"), task

    recipe, task = resolved(make_recipe(verb, flags=flags))
    program, said, *words = shlex.split(shlex.join(command_line(recipe, task)))
    assert (program, said) == ("altprop", verb)
    options = {}
    for word in words:
        if word.startswith("--"):
            options[name := word.removeprefix("--").replace("-", "_")] = True
        else:
            options[name] = word
    assert resolved(make_recipe(verb, flags=options))[0] == recipe


def test_keys_without_a_flag_are_changes_in_the_command():
    recipe = make_recipe("train", ["optimizer.weight_decay=0.5", "scheduler.name=cosine"])
    words = command_line(recipe, "classification")
    assert words == ["altprop", "train", "-o", "optimizer.weight_decay=0.5", "-o", "scheduler.name=cosine"]
