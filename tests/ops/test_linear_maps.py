"""Linear maps against torch's own layers and their gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from altprop.ops.linear_maps import Matrix, convolution

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")

MAPS = {
    "linear": (F.linear, (4, 5), (3, 5), {}),
    "conv1d": (F.conv1d, (4, 1, 3), (3, 2, 6), {"stride": 2, "padding": 1, "groups": 2}),
    "conv2d, same": (F.conv2d, (3, 2, 2, 4), (3, 2, 5, 5), {"padding": "same", "dilation": (3, 1)}),
    "conv2d, valid": (F.conv2d, (3, 2, 2, 2), (3, 2, 5, 5), {"padding": "valid"}),
    "transposed": (F.conv_transpose2d, (4, 2, 3, 3), (3, 4, 3, 3), {"stride": 2, "output_padding": 1, "groups": 2}),
}


def made(name):
    torch.manual_seed(0)
    function, weight_sizes, x_sizes, options = MAPS[name]
    weight, x = torch.randn(*weight_sizes).double(), torch.randn(*x_sizes).double()
    linear_map = Matrix() if function is F.linear else convolution(function.__name__, weight, **options)
    return linear_map, weight, x, lambda x, weight, bias=None: function(x, weight, bias, **options)


@pytest.mark.parametrize("name", MAPS)
def test_forward_and_transposed_are_torchs(name):
    linear_map, weight, x, function = made(name)
    z = function(x, weight)
    bias = torch.randn(z.shape[1]).double()
    torch.testing.assert_close(linear_map.forward(x, weight, bias), function(x, weight, bias))
    torch.testing.assert_close(z + linear_map.per_output(bias), function(x, weight, bias))
    torch.testing.assert_close(
        linear_map.forward(x, weight * linear_map.per_row(bias, weight), None), z * linear_map.per_output(bias)
    )
    s = torch.randn_like(z)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(leaf, weight), leaf, s)
    torch.testing.assert_close(linear_map.transposed(s, weight, x), expected)


@pytest.mark.parametrize("name", MAPS)
def test_fan_in_and_spread_are_those_of_weights_that_are_one(name):
    linear_map, weight, x, function = made(name)
    ones = torch.ones_like(weight)
    count = function(torch.ones_like(x), ones)
    torch.testing.assert_close(linear_map.fan_in(x, weight).expand_as(count), count)
    s = torch.randn_like(count)
    torch.testing.assert_close(linear_map.spread(s, weight, x), linear_map.transposed(s, ones, x))


def test_a_convolution_takes_its_arguments_by_place_or_name():
    weight = nn.Conv2d(2, 4, 3).weight
    assert convolution("conv2d", weight, 2, 1, 1, 1) == convolution("conv2d", weight, stride=(2, 2), padding=(1, 1))
