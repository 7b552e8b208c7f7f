"""Which layer has which rule: by class, name, place and function, the first that matches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import (
    COMPOSITES,
    CONVOLUTIONS,
    LAYERS,
    AlphaBeta,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    ZBox,
    ZPlus,
    both,
    composites,
    first,
    last,
)


class Functional(nn.Module):
    """Convolutions and linear layers, some of them called without a module."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU(), nn.Conv1d(3, 3, 2), nn.ReLU())
        self.weight = nn.Parameter(torch.randn(4, 9))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(F.linear(self.features(x).flatten(1), self.weight)))


def rules_of(composite):
    """The rules of the four layers with weights, from the input to the output."""
    books = altprop.LRP(Functional(), composite).conservation(torch.rand(1, 2, 5), target=0)
    return [record.rule for record in reversed(books) if record.operation in ("conv1d", "linear")]


E, P, G, L, A = (repr(rule) for rule in (Epsilon(), ZPlus(), Gamma(), Flat(), AlphaBeta()))
NAMED = {
    "epsilon": [E, E, E, E],
    "epsilon_plus": [P, P, E, E],
    "epsilon_plus_flat": [L, P, E, E],
    "epsilon_alpha2_beta1": [A, A, E, E],
    "epsilon_alpha2_beta1_flat": [L, A, E, E],
    "alpha1_beta0": [repr(AlphaBeta(1.0, 0.0))] * 4,
    "excitation_backprop": [P, P, P, P],
    "attn_lrp": [E, E, E, E],
    "cp_lrp": [E, E, E, E],
}


@pytest.mark.parametrize("name", NAMED)
def test_named_composites(name):
    assert rules_of(name) == NAMED[name]


def test_every_name_is_a_function():
    assert all(getattr(composites, name) is make for name, make in COMPOSITES.items())


def test_the_box_is_for_the_first_convolution():
    assert rules_of(composites.epsilon_gamma_box(0.0, 1.0)) == [repr(ZBox(0.0, 1.0)), G, E, E]


@pytest.mark.parametrize(
    "pairs, expected",
    [
        ([(nn.Linear, Gamma())], [E, E, G, G]),
        ([("features.*", Gamma())], [G, G, E, E]),
        ([("features.2", Gamma()), (LAYERS, ZPlus())], [P, G, P, P]),
        ([(first, Flat()), (last, ZPlus()), (CONVOLUTIONS, Gamma())], [L, G, E, P]),
        ([(both(first, nn.Linear), Flat())], [E, E, E, E]),
        ([(both("features.*", lambda layer: not layer.first), Gamma())], [E, G, E, E]),
        ([("features.*", Gamma()), ("head", Flat())], [G, G, E, L]),
        (Gamma(), [G, G, G, G]),
    ],
)
def test_the_first_pair_that_matches_counts(pairs, expected):
    assert rules_of(pairs) == expected


def test_composites_are_data():
    composite = Composite(iter([(LAYERS, Epsilon())]))
    assert rules_of(composite) == rules_of(composite) == [E, E, E, E]
