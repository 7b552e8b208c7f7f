"""Settings: how they are written, what is refused, and the command that repeats them."""

import shlex

import pytest
from pydantic import ValidationError

from altprop.experiment import RULES, Settings


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"rules": "lfp,backprop"}, "rules", ("lfp", "backprop")),
        ({"rules": ["lfp:gamma=0.1,minimum_scale=0.001"]}, "rules", ("lfp:gamma=0.1,minimum_scale=0.001",)),
        ({"seeds": 2}, "seeds", (0, 1)),
        ({"seeds": "2"}, "seeds", (0, 1)),
        ({"seeds": "7,"}, "seeds", (7,)),
        ({"seeds": "0,1,7"}, "seeds", (0, 1, 7)),
        ({"seeds": (4, 2)}, "seeds", (4, 2)),
        ({"lr": "0.5"}, "lr", 0.5),
        ({"lr": "lfp=0.5,backprop=1e-3"}, "lr", {"lfp": 0.5, "backprop": 0.001}),
        ({"rules": "lfp:epsilon=0", "lr": "lfp:epsilon=0=0.5"}, "lr", {"lfp:epsilon=0": 0.5}),
        ({"lr_grid": "0.3, 0.1"}, "lr_grid", (0.3, 0.1)),
    ],
)
def test_lists_and_rates_can_be_given_as_text(given, key, value):
    assert getattr(Settings(**given), key) == value


BAD = {
    "data": ({"data": "digit"}, "no data set 'digit'. Did you mean 'digits'"),
    "model": ({"model": "lenet5"}, "no model 'lenet5'. Did you mean 'lenet'"),
    "rule": ({"rules": "lfp,shalow"}, "no rule 'shalow'. Did you mean 'shallow'"),
    "objective": ({"objective": "softmx"}, "no objective 'softmx'. Did you mean 'softmax'"),
    "activation": ({"activation": "rely"}, "no activation 'rely'. Did you mean 'relu'"),
    "setting": ({"epoch": 3}, "no setting 'epoch'. Did you mean 'epochs'"),
    "optimizer": ({"optimizer": "rmsprop"}, "optimizer"),
    "norm": ({"norm": "group"}, "norm"),
    "epochs": ({"epochs": 0}, "epochs"),
    "batch size": ({"batch_size": 0}, "batch_size"),
    "batch norm of one": ({"batch_size": 1, "norm": "batch"}, "2 samples or more: raise batch_size"),
    "momentum": ({"momentum": 1.0}, "momentum"),
    "clip": ({"clip": float("nan")}, "clip"),
    "rate of zero": ({"lr": 0}, "lr"),
    "infinite rate": ({"lr": "inf"}, "lr"),
    "rate in words": ({"lr": "lfp=fast"}, "a number, or rule=number for each rule; got 'lfp=fast'"),
    "rate of a rule that is not run": ({"rules": "lfp", "lr": "lpf=0.1"}, "called 'lpf'. Did you mean 'lfp'"),
    "rate and grid": ({"lr": 0.1, "lr_grid": "0.1,0.2"}, "either lr, or lr_grid"),
    "no rules": ({"rules": ""}, "At least one is needed"),
    "no seeds": ({"seeds": 0}, "At least one is needed"),
    "negative seed": ({"seeds": "-1,2"}, "seeds"),
    "seeds in words": ({"seeds": "three"}, "seeds"),
    "a rule twice": ({"rules": "lfp,lfp"}, "'lfp' is named twice"),
    "a seed twice": ({"seeds": "1,1"}, "1 is named twice"),
    "a rate twice": ({"lr_grid": "0.1,0.1"}, "0.1 is named twice"),
    "a path as name": ({"name": "../elsewhere"}, "A name is made of letters"),
    "a hidden name": ({"name": ".hidden"}, "begins with a letter"),
    "threads": ({"threads": 0}, "threads"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_refused_with_what_would_be_right(case):
    given, message = BAD[case]
    with pytest.raises(ValidationError, match=message):
        Settings(**given)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().epochs = 3


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
    assert Settings(rules=rules).with_rules_for("classification", baselines=True).rules == all_rules


@pytest.mark.parametrize("task", ["classification", "regression", "reconstruction"])
@pytest.mark.parametrize("baselines", [True, False])
def test_all_rules_are_those_that_are_fit_for_the_task(task, baselines):
    fit = tuple(name for name, entry in RULES.items() if task in entry.tasks)
    assert Settings().with_rules_for(task, baselines=baselines).rules == fit
    more = Settings(rules="lfp:epsilon=0,all").with_rules_for(task, baselines=baselines)
    assert more.rules == ("lfp:epsilon=0", *fit)


def test_a_rate_may_be_given_to_any_of_all_rules():
    assert Settings(lr="lfp=0.5").lr_of("lfp") == 0.5
    with pytest.raises(ValidationError, match="Did you mean 'lfp'"):
        Settings(lr="lpf=0.5")


def test_a_rate_is_that_of_the_label_or_the_name_or_the_default():
    settings = Settings(rules="lfp,lfp:epsilon=0", lr={"lfp": 0.5, "lfp:epsilon=0": 0.25})
    assert [settings.lr_of(rule) for rule in ("lfp", "lfp:epsilon=0", "lfp:gamma=1")] == [0.5, 0.25, 0.5]
    assert settings.lr_of("shallow") == RULES["shallow"].lr["sgd"]
    assert Settings(optimizer="adamw").lr_of("lfp") == RULES["lfp"].lr["adam"]
    assert Settings(lr=0.7).lr_of("backprop") == 0.7


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(data="sine", model="8-8", rules="lfp:gamma=0.1,minimum_scale=0.001,backprop", seeds="7,"),
        Settings(task="reconstruction"),
        Settings(lr="lfp=0.5,backprop=0.05", seeds="0,2", optimizer="adam", norm="batch", threads=1, objective="mse"),
        Settings(lr_grid="0.3,0.1", clip=0, activation="step", epochs=2, batch_size=5, momentum=0.5, seeds=1),
        Settings(model="torchvision:resnet18", pretrained=True, epochs=1),
        Settings(dropout=0.25),
    ],
    ids=["defaults", "arguments", "task", "rates", "grid", "pretrained", "dropout"],
)
def test_the_command_repeats_the_settings(settings):
    program, verb, *words = shlex.split(settings.command("compare"))
    assert (program, verb) == ("altprop", "compare")
    options = {}
    for word in words:
        if word.startswith("--"):
            options[name := word.removeprefix("--").replace("-", "_")] = True
        else:
            options[name] = word
    assert Settings(**options) == settings


def test_settings_survive_json():
    settings = Settings(rules="lfp:epsilon=0", lr={"lfp:epsilon=0": 0.5}, seeds="1,4")
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
