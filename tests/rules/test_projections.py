"""How the projections are drawn: what their names promise of the distribution."""

import math

import pytest
import torch

from altprop._feedback_init import INITS
from altprop.rules._projections import draw

OUTPUTS, FEATURES = 40, 500
VARIANCE = {"kaiming": 2 / OUTPUTS, "xavier": 2 / (OUTPUTS + FEATURES), "lecun": 1 / OUTPUTS}


def drawn(init, *, normalize=False, skew=None, key="layer", seed=0):
    return draw((OUTPUTS, FEATURES), key, seed, init=init, normalize=normalize, skew=skew)


@pytest.mark.parametrize("init", [name for name in INITS if name != "orthogonal"])
def test_inits_have_their_variance_and_shape(init):
    B = drawn(init)
    expected = VARIANCE.get(init.partition("_")[0], 1 / 3 if init == "uniform" else 1.0)
    assert B.var().item() == pytest.approx(expected, rel=0.05)
    assert abs(B.mean().item()) < 0.02 * math.sqrt(expected)
    peak = B.abs().max().item() / math.sqrt(expected)
    assert peak <= math.sqrt(3) * 1.001 if "uniform" in init else peak > 3


def test_orthogonal_rows_are_orthonormal():
    B = drawn("orthogonal")
    torch.testing.assert_close(B @ B.t(), torch.eye(OUTPUTS), rtol=0, atol=1e-5)


def test_normalize_divides_by_the_root_of_the_width():
    torch.testing.assert_close(drawn("normal", normalize=True) * math.sqrt(FEATURES), drawn("normal"))


def test_skew_shifts_all_entries_to_one_side_and_keeps_the_shape():
    plain = drawn("normal")
    up, down = drawn("normal", skew="positive"), drawn("normal", skew="negative")
    assert up.min() >= 0
    assert down.max() <= 0
    torch.testing.assert_close(up - up.mean(), plain - plain.mean(), rtol=0, atol=1e-4)
    torch.testing.assert_close(up - down, torch.full_like(up, plain.max() - plain.min()))


def test_a_function_fills_the_matrix_and_leaves_torchs_random_state():
    before = torch.get_rng_state()
    B = drawn(torch.nn.init.normal_)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(B, drawn(torch.nn.init.normal_))
    assert not torch.equal(B, drawn(torch.nn.init.normal_, key="other"))


def test_layers_and_seeds_have_projections_of_their_own():
    assert not torch.equal(drawn("normal"), drawn("normal", key="other"))
    assert not torch.equal(drawn("normal"), drawn("normal", seed=1))


def test_a_matrix_that_would_not_fit_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"12\.0 GiB\. Use projection='channel'"):
        draw((1000, 64 * 224 * 224), "features.2", 0, init="normal", normalize=True, skew=None)
