"""The linear operations of layers with weights, forward and transposed, for any weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop._switches import with_gradients
from altprop.ops.feedback import Sizes


class LinearMap(Protocol):
    """A linear operation x ↦ W x + b for any weight."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b."""

    def transposed(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Wᵀ s, a new tensor of the shape of ``x``."""

    def outer(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Σ s xᵀ over batch and positions, of the shape of ``weight``: its gradient where the output's is s."""

    def per_output(self, values: Tensor) -> Tensor:
        """One value for each output channel, in a shape that multiplies an output."""

    def per_row(self, values: Tensor, weight: Tensor) -> Tensor:
        """One value for each output channel, in a shape that multiplies the weight."""

    def fan_in(self, x: Tensor, weight: Tensor) -> Tensor:
        """The number of inputs of each output, in a shape that divides an output; padding does not count."""

    def spread(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Wᵀ s with all weights 1."""


@dataclass(frozen=True)
class Matrix:
    """``F.linear``: x is (..., in), the weight (out, in)."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b."""
        return F.linear(x, weight, bias)

    def transposed(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Wᵀ s."""
        return s.matmul(weight)

    def outer(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """(out, in)."""
        return s.reshape(-1, s.shape[-1]).t().mm(x.reshape(-1, x.shape[-1]))

    def per_output(self, values: Tensor) -> Tensor:
        """(out)."""
        return values

    def per_row(self, values: Tensor, weight: Tensor) -> Tensor:
        """(out, 1)."""
        return values[:, None]

    def fan_in(self, x: Tensor, weight: Tensor) -> Tensor:
        """The width of the input."""
        return x.new_full((), x.shape[-1])

    def spread(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The sum over the outputs, at each input."""
        return s.sum(-1, keepdim=True).expand_as(x).clone()


@dataclass(frozen=True)
class Columns:
    """``torch.matmul(x, W)``: x is (..., in), the weight (in, out), or one for each of a batch: (..., in, out)."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x W + b."""
        z = x.matmul(weight)
        return z if bias is None else z + bias

    def transposed(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """s Wᵀ."""
        return s.matmul(weight.mT).sum_to_size(x.shape)

    def outer(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """(in, out)."""
        if weight.dim() == 2:
            return x.reshape(-1, x.shape[-1]).t().mm(s.reshape(-1, s.shape[-1]))
        return x.mT.matmul(s).sum_to_size(weight.shape)

    def per_output(self, values: Tensor) -> Tensor:
        """(out), or what was added to the product."""
        return values

    def per_row(self, values: Tensor, weight: Tensor) -> Tensor:
        """(out)."""
        return values

    def fan_in(self, x: Tensor, weight: Tensor) -> Tensor:
        """The width of the input."""
        return x.new_full((), x.shape[-1])

    def spread(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The sum over the outputs, at each input."""
        return s.sum(-1, keepdim=True).sum_to_size(*x.shape[:-1], 1).expand_as(x).clone()


@dataclass(frozen=True)
class Rows:
    """``torch.matmul(W, x)``: the weight is (..., out, in), x (..., in, columns)."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b; also for one x in all rows."""
        z = weight.matmul(x.expand(*x.shape[:-2], weight.shape[-1], -1))
        return z if bias is None else z + bias

    def transposed(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Wᵀ s."""
        return weight.mT.matmul(s).sum_to_size(x.shape)

    def outer(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Of the weight's shape."""
        return s.matmul(x.mT).sum_to_size(weight.shape)

    def per_output(self, values: Tensor) -> Tensor:
        """What was added to the product."""
        return values

    def per_row(self, values: Tensor, weight: Tensor) -> Tensor:
        """(out, 1)."""
        return values[:, None]

    def fan_in(self, x: Tensor, weight: Tensor) -> Tensor:
        """The height of the input."""
        return x.new_full((), x.shape[-2])

    def spread(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The sum over the outputs, at each input."""
        return s.sum(-2, keepdim=True).sum_to_size(*x.shape[:-2], 1, x.shape[-1]).expand_as(x).clone()


@dataclass(frozen=True)
class Bilinear:
    """Any product that is linear in both factors, such as ``torch.einsum``'s: by its ordinary backward pass.

    Attributes:
        product: of x and the weight.
        shape: of x.
    """

    product: Callable[[Tensor, Tensor], Tensor]
    shape: torch.Size

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x; also for an x that is the same throughout."""
        return self.product(x.expand(self.shape), weight)

    def transposed(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Wᵀ s."""
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(with_gradients(self.product)(leaf, weight.detach()), leaf, s)[0]

    def outer(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Of the weight's shape."""
        leaf = weight.detach().requires_grad_()
        return torch.autograd.grad(with_gradients(self.product)(x.detach(), leaf), leaf, s)[0]

    def per_output(self, values: Tensor) -> Tensor:
        """There is no bias."""
        return values

    def per_row(self, values: Tensor, weight: Tensor) -> Tensor:
        """No batch norm is one with this."""
        raise NotImplementedError

    def fan_in(self, x: Tensor, weight: Tensor) -> Tensor:
        """How many products each output sums."""
        return self.product(torch.ones_like(x), torch.ones_like(weight))

    def spread(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """As with weights that are all 1."""
        return self.transposed(s, torch.ones_like(weight), x)


@dataclass(frozen=True)
class Convolution:
    """``torch.convolution``: x is (batch, channels, ...); the fields are its arguments.

    Attributes:
        uneven: the zeros that an uneven ``"same"`` padding adds at the end of each dimension, as ``F.pad`` wants them.
    """

    stride: Sizes
    padding: Sizes
    dilation: Sizes
    transpose: bool
    output_padding: Sizes
    groups: int
    uneven: Sizes = ()

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, self.uneven) if self.uneven else x

    def _geometry(self, groups: int) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.transpose, self.output_padding, groups

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + b."""
        return torch.convolution(self._padded(x), weight, bias, *self._geometry(self.groups))

    def transposed(self, s: Tensor, weight: Tensor, x: Tensor, groups: int = 0) -> Tensor:
        """Wᵀ s."""
        gradients = torch.ops.aten.convolution_backward.default(
            s, self._padded(x), weight, None, *self._geometry(groups or self.groups), [True, False, False]
        )
        result: Tensor = gradients[0]
        return F.pad(result, [-zeros for zeros in self.uneven]) if self.uneven else result

    def outer(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Of the weight's shape."""
        gradients = torch.ops.aten.convolution_backward.default(
            s, self._padded(x), weight, None, *self._geometry(self.groups), [False, True, False]
        )
        result: Tensor = gradients[1]
        return result

    def per_output(self, values: Tensor) -> Tensor:
        """(out, 1, ...)."""
        return values.view(-1, *(1,) * len(self.stride))

    def per_row(self, values: Tensor, weight: Tensor) -> Tensor:
        """(out, 1, ...), or as a transposed convolution's weight has it."""
        return per_channel(values, weight, transposed=self.transpose, groups=self.groups)

    def fan_in(self, x: Tensor, weight: Tensor) -> Tensor:
        """(1, 1, ...): by a convolution of ones over one channel."""
        kernel = weight.new_ones(1, 1, *weight.shape[2:])
        ones = torch.convolution(self._padded(x.new_ones(1, 1, *x.shape[2:])), kernel, None, *self._geometry(1))
        return ones * (x.shape[1] // self.groups)

    def spread(self, s: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """All channels of a group get the same: one channel per group is computed."""
        grouped = s.view(len(s), self.groups, -1, *s.shape[2:]).sum(2)
        kernel = weight.new_ones(self.groups, 1, *weight.shape[2:])
        alike = x.new_empty(()).expand(len(x), self.groups, *x.shape[2:])
        back = self.transposed(grouped, kernel, alike, self.groups)
        return back.repeat_interleave(x.shape[1] // self.groups, dim=1)


def convolution(function: str, weight: Tensor, *args: Any, **kwargs: Any) -> Convolution:
    """The linear map of one call of a convolution.

    Args:
        function: its name in ``torch.nn.functional``.
        weight: its weight.
        *args: what follows the bias in the call.
        **kwargs: the same, by name.
    """
    dims = weight.dim() - 2
    transpose = function.startswith("conv_transpose")
    names = ("stride", "padding", "output_padding", "groups", "dilation") if transpose else _ORDER
    given = dict(zip(names, args, strict=False)) | kwargs
    dilation = _sizes(given.get("dilation", 1), dims)
    padding = given.get("padding", 0)
    uneven: Sizes = ()
    if isinstance(padding, str):
        padding, uneven = named_padding(padding, weight, dilation)
    return Convolution(
        _sizes(given.get("stride", 1), dims),
        _sizes(padding, dims),
        dilation,
        transpose,
        _sizes(given.get("output_padding", 0), dims),
        given.get("groups", 1),
        uneven,
    )


_ORDER = ("stride", "padding", "dilation", "groups")


def _sizes(value: Any, dims: int) -> Sizes:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dims if len(values) == 1 else values


def named_padding(padding: str, weight: Tensor, dilation: Sizes) -> tuple[Sizes, Sizes]:
    """The zeros that ``"same"`` or ``"valid"`` puts on both sides of each dimension, and those at the end alone.

    Args:
        padding: the name.
        weight: of the convolution, (out, in, *kernel).
        dilation: for each dimension of the kernel.

    Returns:
        One number for each dimension; and what ``F.pad`` takes for the rest, empty if there is none.
    """
    reach = [
        step * (size - 1) if padding == "same" else 0 for step, size in zip(dilation, weight.shape[2:], strict=True)
    ]
    odd = [length % 2 for length in reach]
    uneven = tuple(n for rest in reversed(odd) for n in (0, rest)) if any(odd) else ()
    return tuple(length // 2 for length in reach), uneven


def per_channel(values: Tensor, weight: Tensor, *, transposed: bool = False, groups: int = 1) -> Tensor:
    """One value for each output channel, in a shape that multiplies the weight.

    Args:
        values: (out).
        weight: (out, in / groups, *kernel); of a transposed convolution (in, out / groups, *kernel).
        transposed: whether it is a transposed convolution's.
        groups: that convolution's.
    """
    kernel = (1,) * (weight.dim() - 2)
    if not transposed:
        return values.view(-1, 1, *kernel)
    # The first inputs belong to the first group, and lead to its outputs alone.
    rows = values.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
    return rows.reshape(weight.shape[0], -1, *kernel)
