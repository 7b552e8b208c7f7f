"""The schemes by which feedback matrices are drawn."""

import pytest
import torch
from torch import nn

from altprop._feedback_init import INITS, init_feedback_, make_generator, spread_of


def drawn(init, skew=None, shape=(200, 300), seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.empty(shape, dtype=dtype)
    return init_feedback_(tensor, init, fan_in=shape[1], fan_out=shape[0], skew=skew, generator=generator)


@pytest.mark.parametrize("init", [init for init in INITS if "_" in init])
def test_schemes_have_the_spread_of_torchs(init):
    theirs = torch.empty(200, 300)
    generator = torch.Generator().manual_seed(0)
    if init.startswith("lecun"):
        shape = init.removeprefix("lecun_")
        getattr(nn.init, f"kaiming_{shape}_")(theirs, nonlinearity="linear", generator=generator)
    else:
        getattr(nn.init, f"{init}_")(theirs, generator=generator)
    torch.testing.assert_close(drawn(init), theirs)


@pytest.mark.parametrize(("init", "deviation"), [("normal", 1.0), ("uniform", 3**-0.5)])
def test_plain_distributions_do_not_look_at_the_fans(init, deviation):
    assert spread_of(init, 5, 7) == (init, pytest.approx(deviation))
    assert drawn(init).std() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize("init", INITS)
def test_a_skew_shifts_all_values_to_one_side(init):
    plain, positive, negative = (drawn(init, skew, (20, 30)) for skew in (None, "positive", "negative"))
    assert plain.min() < 0 < plain.max()
    assert positive.min() == 0
    assert negative.max() == 0
    torch.testing.assert_close(positive - positive.mean(), plain - plain.mean())
    torch.testing.assert_close(negative - negative.mean(), plain - plain.mean())


def test_draws_do_not_depend_on_the_precision_and_leave_the_random_state_alone():
    before = torch.get_rng_state()
    for init in (*INITS, nn.init.normal_):
        assert torch.equal(drawn(init, dtype=torch.float64).float(), drawn(init))
        assert not torch.equal(drawn(init, seed=1), drawn(init))
    assert torch.equal(torch.get_rng_state(), before)
    wide = drawn("orthogonal")
    torch.testing.assert_close(wide @ wide.t(), torch.eye(200), rtol=0, atol=1e-5)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="There is no init 'he'"):
        drawn("he")
    with pytest.raises(ValueError, match="skew must be"):
        drawn("normal", "left")
    with pytest.raises(ValueError, match="independent entries"):
        spread_of("orthogonal", 1, 1)


def test_a_seed_gives_feedback_weights_that_a_model_of_that_seed_does_not_have():
    torch.manual_seed(3)
    weights = torch.randn(1000)
    drawn = torch.randn(1000, generator=make_generator(3, None))
    assert abs(torch.corrcoef(torch.stack([weights, drawn]))[0, 1]) < 0.1
    assert torch.equal(drawn, torch.randn(1000, generator=make_generator(3, None)))
