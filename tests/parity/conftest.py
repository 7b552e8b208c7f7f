"""What the parity tests share: networks whose every part counts, and how two relevances are compared."""

import pytest
import torch
from torch import nn

PROMISE = 1e-5  # of the largest relevance: what the documentation promises


@pytest.fixture
def assert_agree():
    def check(found, expected, tolerance=PROMISE):
        assert found.shape == expected.shape
        assert expected.abs().max() > 0, "a comparison of zeros shows nothing"
        found, expected = found.detach(), expected.detach()
        error = float((found - expected).abs().max() / expected.abs().max())
        assert error < tolerance, f"relative error {error:.1e}"

    return check


@pytest.fixture
def stir():
    """Gives biases and batch norms values that count; fresh layers have none, and are hardly biased."""

    @torch.no_grad()
    def change(model, seed=1):
        generator = torch.Generator().manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
            elif isinstance(getattr(module, "bias", None), nn.Parameter):
                module.bias.normal_(0, 0.05, generator=generator)
        return model

    return change
