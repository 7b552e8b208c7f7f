"""altprop.LRP hands back what autoLRP 0.2.0 hands back, operation by operation. Run by ``make parity``.

Like altprop, autoLRP sees functions, not modules: the network here is written with those. It starts from one, and
splits sums, and a layer's bias from its inputs, in proportion to magnitudes, and spreads an average evenly over what it
is of: so there are no biases and no averages here, and sums have no negative terms.
"""

import autolrp
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import composites

TINY = 1e-11
ALPHA_BETA = ("alpha_beta", {"alpha": 2.0, "beta": 1.0})
GAMMA = ("gamma", {"gamma": 0.25})


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.down, self.head = nn.Conv2d(12, 8, 3, stride=2, bias=False), nn.Linear(8 * 4, 5, bias=False)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.cat([x + F.relu(self.body(x)), x], 1)
        x = F.relu(self.down(F.max_pool2d(x, 2)))
        return self.head(x.flatten(1))


CASES = {
    "epsilon": ({}, composites.epsilon(TINY, stabiliser=TINY)),
    "epsilon_plus": ({"ConvolutionBackward": "zplus"}, composites.epsilon_plus(TINY, stabiliser=TINY)),
    "epsilon_alpha2_beta1": (
        {"ConvolutionBackward": ALPHA_BETA},
        composites.epsilon_alpha2_beta1(TINY, stabiliser=TINY),
    ),
    "epsilon_gamma_box": (
        {"ConvolutionBackward": GAMMA, "input_conv": ("zbox", {"low": -4.0, "high": 4.0})},
        composites.epsilon_gamma_box(-4.0, 4.0, TINY, stabiliser=TINY),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_composites_are_autolrps(name, assert_agree):
    theirs, own = CASES[name]
    torch.manual_seed(0)
    model, x = Residual().double(), torch.randn(1, 3, 12, 12, dtype=torch.float64)
    wrapped = autolrp.tensor(x)
    model(wrapped)[0, 2].lrp(config=autolrp.LRPConfig(rule={**autolrp.BASE, **theirs}, eps=TINY))
    one = torch.eye(5, dtype=torch.float64)[2:3]
    assert_agree(altprop.LRP(model, own, strict=True).attribute(x, target=one), wrapped.relevance)
