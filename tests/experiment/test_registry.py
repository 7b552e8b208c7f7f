"""The rules by name, and their arguments."""

import pytest

import altprop
from altprop.experiment import RULES, InputError, make_rule
from altprop.experiment.registry import CONTROL, REFERENCE


@pytest.mark.parametrize("name", RULES)
def test_every_rule_can_be_made_and_has_rates_for_every_optimizer(name):
    assert isinstance(make_rule(name), altprop.Rule)
    for optimizer in ("sgd", "adam", "adamw", "rmsprop"):
        assert 0 < RULES[name].lr_with(optimizer) <= 1


def test_reference_and_control_are_what_they_should_be():
    assert isinstance(make_rule(REFERENCE), altprop.Backprop)
    assert isinstance(make_rule(CONTROL), altprop.Shallow)


def test_arguments_follow_the_name():
    assert repr(make_rule("lfp:epsilon=0, update=oja")) == "LFP(epsilon=0, update='oja')"


BAD = {
    "lpf": "no rule 'lpf'. Did you mean 'lfp'. Known: .*backprop",
    "Shalow": "no rule 'Shalow'. Did you mean 'shallow'",
    "": "no rule ''",
    "lfp:epsilom=0": "argument of the rule 'lfp' called 'epsilom'. Did you mean 'epsilon'",
    "lfp:epsilon": "written name=value, got 'epsilon' in 'lfp:epsilon'",
    "lfp:=3": "written name=value",
    "backprop:epsilon=0": "'backprop' takes no arguments, got 'backprop:epsilon=0'",
    "lfp:update=wrong": "'lfp:update=wrong' cannot be made: .*wrong",
    "lfp:epsilon=small": "'lfp:epsilon=small' cannot be made",
}


@pytest.mark.parametrize("label", BAD)
def test_what_is_wrong_with_a_label_is_said(label):
    with pytest.raises(InputError, match=BAD[label].replace("'. Known", r"'\? Known")):
        make_rule(label)
