"""The stabiliser of sums, normalisations and products is the composite's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop.explain import LAYERS, LRP, Composite, Epsilon, Norm, composites

EPSILON = 0.5


class Operation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, a, b):
        return self.function(a, b)


OPERATIONS = {
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: torch.stack([a, b]).mean(0),
    "normalisation": lambda a, b: F.layer_norm(a + b, (3,), bias=torch.ones(3)),
    "product": lambda a, b: a @ b.mT,
    "attention": lambda a, b: F.scaled_dot_product_attention(a, b, b),
}


def relevance_of_positive_values(function, composite):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 4, 3, generator=generator) + 1, torch.rand(2, 4, 3, generator=generator) + 1
    R = torch.ones_like(function(a, b))
    return sum(R_x.abs().sum() for R_x in LRP(Operation(function), composite, strict=True).attribute((a, b), target=R))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_without_a_rule_is_stabilised_by_the_composites(operation):
    little, much = (Composite(stabiliser=epsilon) for epsilon in (1e-6, EPSILON))
    function = OPERATIONS[operation]
    assert relevance_of_positive_values(function, much) < 0.95 * relevance_of_positive_values(function, little)


def test_a_sum_hands_back_its_share_of_the_stabilised_value():
    a, b = torch.tensor([[1.0, -3.0]]), torch.tensor([[2.0, 1.0]])
    R_a, R_b = LRP(Operation(torch.add), Composite(stabiliser=EPSILON)).attribute((a, b), target=torch.ones(1, 2))
    torch.testing.assert_close(R_a, torch.tensor([[1 / 3.5, -3 / -2.5]]))
    torch.testing.assert_close(R_b, torch.tensor([[2 / 3.5, 1 / -2.5]]))


def test_a_rule_for_sums_goes_before_it():
    a, b = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    composite = Composite([(nn.Module, Norm(1.0))], stabiliser=EPSILON)
    R_a, _ = LRP(Operation(torch.add), composite).attribute((a, b), target=torch.ones(1, 1))
    torch.testing.assert_close(R_a, torch.tensor([[1 / 4]]))


STABILISED = [
    "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat", "alpha1_beta0", "excitation_backprop", "attn_lrp", "cp_lrp",
]  # fmt: skip


@pytest.mark.parametrize("name", STABILISED)
def test_named_composites_hand_their_stabiliser_on(name):
    bounds = {"low": -1.0, "high": 1.0} if name == "epsilon_gamma_box" else {}
    assert composites.COMPOSITES[name](**bounds, stabiliser=EPSILON).stabiliser == EPSILON


@pytest.mark.parametrize("value", [-1e-6, float("inf"), float("nan")])
def test_a_stabiliser_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="stabiliser must be a finite number >= 0"):
        Composite([(LAYERS, Epsilon())], stabiliser=value)
