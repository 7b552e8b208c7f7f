"""The arithmetic of relevance, and what is known of tensors on the way."""

import pytest
import torch

from altprop.ops.lrp.facts import (
    ANYWHERE,
    PROPORTIONAL,
    Rectified,
    SavedTensor,
    TensorFacts,
    before_overwriting,
    facts_of,
    set_facts,
)
from altprop.ops.lrp.nodes import RelevanceNode, divide


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_divide_stabilises_away_from_zero(epsilon):
    R, z = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([2.0, -2.0, 0.0, 0.0])
    expected = torch.tensor([1 / 2.5, -1 / 2.5, 2.0, 0.0]) if epsilon else torch.tensor([0.5, -0.5, 0.0, 0.0])
    torch.testing.assert_close(divide(R, z, epsilon), expected)


def test_share_books_what_the_stabiliser_takes():
    node = RelevanceNode()
    node.watch()
    R, z = torch.tensor([1.0, 3.0]), torch.tensor([1.0, -torch.inf])
    node.quotient(R, z, 1.0)
    assert float(node.stabilised) == pytest.approx(0.5 + 3.0)  # all of what meets an infinite z


def test_a_tensor_that_is_kept_survives_being_overwritten():
    tensor = torch.arange(3.0)
    kept = SavedTensor(tensor)
    before_overwriting(tensor)
    tensor.zero_()
    assert kept.get().equal(torch.arange(3.0))


def test_a_tensor_that_is_overwritten_unseen_is_an_error():
    tensor = torch.arange(3.0)
    kept = SavedTensor(tensor)
    tensor[1:].zero_()
    with pytest.raises(RuntimeError, match=r"shape \(3,\) .* was overwritten in place, by code that LRP does not see"):
        kept.get()


def test_what_is_known_of_a_tensor_ends_when_it_is_overwritten_unseen():
    tensor, facts = torch.ones(3), TensorFacts(nonnegative=True, beyond_first=False)
    set_facts(tensor, facts)
    assert facts_of(tensor) is facts
    tensor[1:].neg_()
    assert not facts_of(tensor).nonnegative and not facts_of(tensor).beyond_first
    assert not facts.vanishes_at_zero()


@pytest.mark.parametrize("behind, vanishes", [(PROPORTIONAL, True), (ANYWHERE, False)])
def test_relevance_vanishes_below_a_relu_if_all_behind_is_proportional(behind, vanishes):
    z, a = TensorFacts(), TensorFacts(nonnegative=True)
    z.consumers.append(Rectified(a))
    a.consumers.append(behind)
    assert z.vanishes_below() is vanishes
    z.consumers.append(PROPORTIONAL)  # z is used elsewhere too: its negative entries count there
    assert not z.vanishes_below()
