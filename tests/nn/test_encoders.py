"""Numbers as spikes."""

from functools import partial

import pytest
import torch

from altprop.nn.encoders import ENCODERS, latency, rate, repeat


def test_repeat_gives_the_same_at_every_step():
    x = torch.randn(3, 2, 4)
    assert torch.equal(repeat(x, 5), torch.stack([x] * 5))


def test_rate_fires_with_the_input_for_a_probability():
    x = torch.tensor([[0.0, 0.25, 0.9, 1.0]]).expand(500, -1)
    spikes = rate(x, 40, generator=torch.Generator().manual_seed(0))
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(spikes.mean((0, 1)), x[0], atol=0.01, rtol=0)


def test_rate_repeats_with_its_generator_and_leaves_torchs_own_alone():
    x, before = torch.rand(3, 4), torch.get_rng_state()
    first, again = (rate(x, 9, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 2, 15])
def test_latency_fires_once_and_earlier_for_larger_inputs(steps):
    x = torch.linspace(0, 1, 30, dtype=torch.float64).unsqueeze(0)
    spikes = latency(x, steps)
    assert spikes.sum(0).tolist() == [[0.0] + [1.0] * 29]
    when = spikes.argmax(0)[0, 1:]
    assert (when.diff() <= 0).all()
    assert when[-1] == 0
    assert when[0] == steps - 1
    assert spikes.dtype == x.dtype


@pytest.mark.parametrize("encoder", [rate, latency, partial(rate, generator=torch.Generator())])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_inputs_out_of_range_are_refused_with_a_remedy(encoder, value):
    with pytest.raises(ValueError, match=r"takes inputs from 0 to 1.*'repeat'"):
        encoder(torch.tensor([[0.5, value]]), 4)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_empty_batch_stays_empty(name):
    assert ENCODERS[name](torch.zeros(0, 4), 3).shape == (3, 0, 4)
