"""Draws of examples: in proportion, repeatable, and of all classes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from altprop.experiment import InputError
from altprop.experiment.data.choose import choose


@given(st.lists(st.integers(0, 5), min_size=4, max_size=80), st.floats(0.2, 0.8), st.integers(0, 99))
def test_each_class_keeps_its_proportion_and_none_is_lost(classes, share, seed):
    targets = torch.tensor(classes)
    chosen, rest = choose(targets, share, seed, "fraction")
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(len(classes)))
    assert len(chosen) == round(share * len(classes))
    # Compared with the proportion of what was drawn in all, which is rounded to whole examples.
    part = len(chosen) / len(classes)
    for one in set(classes):
        assert abs((targets[chosen] == one).sum().item() - part * classes.count(one)) < 1


def test_a_draw_repeats_and_depends_on_the_seed_and_the_purpose():
    targets = torch.arange(200) % 4
    draws = [choose(targets, 0.3, *which)[0].tolist() for which in [(0, "fraction"), (1, "fraction"), (0, "test")]]
    assert draws[0] == choose(targets, 0.3, 0, "fraction")[0].tolist()
    assert draws[0] != draws[1]
    assert draws[0] != draws[2]


def test_numbers_are_drawn_from_all_together_and_no_global_state_moves():
    before = torch.get_rng_state()
    chosen, rest = choose(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), 0.2, 0, "validation")
    assert (len(chosen), len(rest)) == (10, 40)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_an_empty_part_is_refused(share):
    with pytest.raises(InputError, match="leaves one of two parts empty"):
        choose(torch.zeros(10, dtype=torch.int64), share, 0, "fraction")
