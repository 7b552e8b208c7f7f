"""Names with arguments after a colon."""

import pytest

from altprop.experiment import InputError
from altprop.experiment.labels import base_name, make_labelled, split_labels

MAKERS = {"box": lambda low, high, gamma=0.25: (low, high, gamma), "plain": lambda: "plain"}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("lfp", ["lfp"]),
        ("lfp,backprop", ["lfp", "backprop"]),
        (" lfp , , shallow ", ["lfp", "shallow"]),
        ("lfp:a=1,b=2,backprop,lfp:c=3", ["lfp:a=1,b=2", "backprop", "lfp:c=3"]),
        ("lfp:a=1,lfp:a=2,b=3", ["lfp:a=1", "lfp:a=2,b=3"]),
        ("lfp:a=1=0.5,backprop=0.1", ["lfp:a=1=0.5", "backprop=0.1"]),
        ("", []),
    ],
)
def test_a_list_is_split_between_labels_not_within_their_arguments(text, labels):
    assert split_labels(text, {"lfp", "backprop", "shallow"}) == labels


def test_the_name_comes_before_the_colon():
    assert base_name("lfp:epsilon=0") == base_name("lfp") == "lfp"


def test_arguments_in_the_label_come_before_those_given_for_all():
    assert make_labelled("shape", "box:high=5", MAKERS, low=-1, high=1) == (-1, 5, 0.25)
    assert make_labelled("shape", "plain", MAKERS, low=-1) == "plain", "what a maker does not take it is not given"


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("box:low=0", "The shape 'box' needs high: write box:high=…."),
        ("box", "The shape 'box' needs low and high: write box:low=…,high=…."),
        ("bix", "There is no shape 'bix'. Did you mean 'box'? Known: box, plain."),
        ("box:lo=0", "There is no argument of the shape 'box' called 'lo'. Did you mean 'low'?"),
        ("box:low", "The arguments of a shape are written name=value, got 'low' in 'box:low'."),
        ("plain:low=0", "The shape 'plain' takes no arguments, got 'plain:low=0'."),
    ],
)
def test_what_is_wrong_with_a_label_is_said(label, message):
    with pytest.raises(InputError) as error:
        make_labelled("shape", label, MAKERS)
    assert str(error.value).startswith(message)
