"""Randomness that repeats, in numbers of its own."""

import pytest
import torch

from altprop.experiment.seeding import seeded


def test_the_block_repeats_and_what_surrounds_it_goes_on_as_if_it_were_not_there():
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    start = torch.rand(2)
    with seeded(7):
        first = torch.rand(3)
    with pytest.raises(ZeroDivisionError), seeded(7):
        second = torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(first, second)
    assert torch.equal(torch.cat([start, torch.rand(2)]), expected)
