"""Composites by name, with their arguments, and which of them make sense for a model."""

import pytest
import torch
from torch import nn

from altprop.experiment import InputError
from altprop.experiment.composites import composites_for, make_composite
from altprop.explain import COMPOSITES, Composite, Gamma, ZBox


@pytest.mark.parametrize("name", [name for name in COMPOSITES if not name.startswith("pattern_")])
def test_every_composite_can_be_made_once_the_bounds_are_known(name):
    composite = make_composite(name, low=-1.0, high=1.0)
    assert isinstance(composite, Composite)
    assert composite.name == name


def test_arguments_follow_the_name_and_bounds_may_be_among_them():
    low = torch.zeros(3, 1, 1)
    rules = [rule for _, rule in make_composite("epsilon_gamma_box:gamma=0.5,high=2", low=low, high=1.0).pairs]
    box = next(rule for rule in rules if isinstance(rule, ZBox))
    assert (box.low is low, box.high) == (True, 2)
    assert next(rule.gamma for rule in rules if isinstance(rule, Gamma)) == 0.5


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("epsilon_gamma_box", "'epsilon_gamma_box' needs low and high: write epsilon_gamma_box:low=…,high=…"),
        ("epsilon_gamma_box:low=0", "'epsilon_gamma_box' needs high"),
        ("epsilon_pluss", "There is no composite 'epsilon_pluss'. Did you mean 'epsilon_plus'? Known: epsilon, "),
        (
            "epsilon:epsilom=1",
            "There is no argument of the composite 'epsilon' called 'epsilom'. Did you mean 'epsilon'?",
        ),
        ("gradient:epsilon=1", "The composite 'gradient' takes no arguments"),
        ("epsilon:epsilon=-1", "The composite 'epsilon:epsilon=-1' cannot be made: "),
        ("pattern_net", "needs patterns fitted to the data"),
    ],
)
def test_what_is_wrong_with_a_composite_is_said(label, message):
    with pytest.raises(InputError) as error:
        make_composite(label)
    assert message in str(error.value)


def test_all_are_those_that_make_sense_for_the_model():
    plain = set(composites_for(nn.Sequential(nn.Linear(2, 2))))
    convolutional = set(composites_for(nn.Sequential(nn.Conv2d(1, 1, 1))))
    attentive = set(composites_for(nn.TransformerEncoderLayer(4, 2, batch_first=True)))
    assert {"epsilon", "alpha1_beta0", "gradient", "guided_backprop"} <= plain
    assert {"epsilon_plus", "epsilon_gamma_box", "epsilon_alpha2_beta1_flat"} == {
        name for name in convolutional - plain if name not in ("epsilon_plus_flat", "epsilon_alpha2_beta1")
    }
    assert attentive - plain == {"attn_lrp", "cp_lrp"}
    assert not any(name.startswith("pattern_") for name in plain | convolutional | attentive)
