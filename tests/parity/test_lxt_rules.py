"""Each operation of a transformer hands back what LXT 0.6's explicit rules hand back. Run by ``make parity``.

LXT stabilises as z + ε, whatever the sign of z: so ε is next to nothing here, or z is well above zero where LXT fixes
it.
"""

import lxt.functional
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import LAYERS, Composite, rules

TINY = 1e-14


def pair(*shape):
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)


A, B = pair(2, 4, 6)
W, C = pair(6)
MATRIX = pair(5, 6)[0]
MASKED = A.masked_fill(A > 1, float("-inf"))

OPERATIONS = {
    "add": (lambda a, b: a + b, lambda a, b: lxt.functional.add2(a, b, epsilon=TINY), (A, B)),
    "product": (lambda a, b: a * b, lxt.functional.mul2, (A, B)),
    "product-with-constant": (lambda a: a * W, lambda a: lxt.functional.mul2(a, W), (A,)),
    "matmul": (
        lambda a, b: a @ b.mT,
        lambda a, b: lxt.functional.matmul(a, b.mT, epsilon=TINY),
        (A, B),
    ),
    "softmax": (lambda a: a.softmax(-1), lambda a: lxt.functional.softmax(a, -1), (A,)),
    "softmax-masked": (lambda a: F.softmax(a, -1), lambda a: lxt.functional.softmax(a, -1), (MASKED,)),
    "linear": (
        lambda a: F.linear(a, MATRIX, MATRIX[:, 0]),
        lambda a: lxt.functional.linear_epsilon(a, MATRIX, MATRIX[:, 0], TINY),
        (A,),
    ),
    "mean": (lambda a: a.mean(1, keepdim=True), lambda a: lxt.functional.mean(a, 1, True, TINY), (A,)),
    "layer-norm": (
        lambda a: F.layer_norm(a, (6,), 0.2 * W, 3 + 0.2 * C, 1e-5),
        lambda a: lxt.functional.layer_norm(a, 0.2 * W, 3 + 0.2 * C, 1e-5),
        (A,),
    ),
    "rms-norm": (
        lambda a: F.rms_norm(a, (6,), W, 1e-5),
        lambda a: lxt.functional.rms_norm_identity(a, W, 1e-5),
        (A,),
    ),
    "normalize": (lambda a: F.normalize(a, dim=-1), lambda a: lxt.functional.normalize(a, dim=-1), (A,)),
}


class Operation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_lxts(name, assert_agree):
    own, other, inputs = OPERATIONS[name]
    composite = Composite([(LAYERS, rules.Epsilon(TINY))], stabiliser=TINY)
    torch.manual_seed(1)
    R = torch.randn_like(own(*inputs))
    found = altprop.LRP(Operation(own), composite, strict=True).attribute(inputs, target=R)

    leaves = [value.clone().requires_grad_() for value in inputs]
    output = other(*leaves)
    torch.testing.assert_close(output.detach(), own(*inputs))
    for relevance, expected in zip(found, torch.autograd.grad(output, leaves, R), strict=True):
        assert_agree(relevance, expected)
