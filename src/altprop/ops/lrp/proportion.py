"""Relevance in proportion to contributions, through any differentiable function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from altprop._switches import with_gradients
from altprop.ops.lrp.facts import SavedTensor
from altprop.ops.lrp.nodes import RelevanceNode, times, total_of


class Proportion(RelevanceNode):
    """z = f(x₁, x₂, …): R_i = c_i x_i · (∂z/∂x_i)ᵀ (R / (z + ε·sign z)).

    Exact for any f that is homogeneous of degree one in its inputs together (linear ones above all), by Euler's
    theorem; with c_i = 1/2 for a product of two. For any other f this is the gradient times the input.
    """

    label = "proportion"

    def __init__(
        self,
        f: Callable[[Sequence[Tensor]], list[Tensor]],
        outputs: Sequence[Tensor],
        leaves: Sequence[Tensor],
        inputs: Sequence[Tensor],
        parts: Sequence[float],
        epsilon: float,
    ) -> None:
        self._f, self._outputs, self._leaves, self._parts, self._epsilon = f, outputs, leaves, parts, epsilon
        self._versions = [leaf._version for leaf in leaves]
        self._kept = [SavedTensor(value) for value in inputs]

    def hand_back(self, R: Tensor) -> tuple[Tensor | None, ...]:
        """By the ordinary backward pass of f, from the inputs as they were."""
        return self.hand_back_all([R])

    def backward_all(self, relevances: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """:meth:`backward` for several outputs."""
        handed = self.hand_back_all(relevances)
        if self.received is not None and self.passed is not None:
            self.received = self.received + sum(map(total_of, relevances))
            self.passed = self.passed + sum(total_of(part) for part in handed if part is not None)
        return handed

    def hand_back_all(self, relevances: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The sum over the outputs of what each hands back."""
        values = [kept.get() for kept in self._kept]
        if any(leaf._version != version for leaf, version in zip(self._leaves, self._versions, strict=True)):
            # An overwritten input may be needed by the backward pass of f: recompute from the copies.
            self._leaves = [value.detach().requires_grad_() for value in values]
            self._versions = [leaf._version for leaf in self._leaves]
            self._outputs = with_gradients(self._f)(self._leaves)
        s = [
            self.quotient(R, total, self._epsilon)
            for R, total in zip(relevances, self._contributed(values), strict=True)
        ]
        gradients = torch.autograd.grad(self._outputs, self._leaves, s, allow_unused=True)
        return tuple(
            None if g is None else times(g, value).mul_(part)
            for g, value, part in zip(gradients, values, self._parts, strict=True)
        )

    def gradient(self, g: Tensor) -> tuple[Tensor, ...]:
        """The gradient of each input from that of the one output."""
        return torch.autograd.grad(
            self._outputs, self._leaves, g, retain_graph=True, create_graph=torch.is_grad_enabled()
        )

    def _contributed(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The joint contribution of all inputs to each output: the output itself, by Euler's theorem."""
        return [z.detach() for z in self._outputs]


class Homogeneous(Proportion):
    """z = f(x₁, x₂, …), homogeneous of any degree k: R_i = x_i · (∂z/∂x_i)ᵀ (R / (e + ε·sign e)), e = Σ x_i ∂z/∂x_i.

    By Euler's theorem e = k z, so that products of k factors hand 1/k to each, quotients too, and all add up to R.
    """

    @with_gradients
    def _contributed(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Σ x_i ∂z/∂x_i: the derivative along x, as that of a backward pass by its seed."""
        seeds = [torch.zeros_like(z, requires_grad=True) for z in self._outputs]
        back = torch.autograd.grad(self._outputs, self._leaves, seeds, create_graph=True, allow_unused=True)
        parts = [times(g, value) for g, value in zip(back, values, strict=True) if g is not None]
        real = [torch.view_as_real(part) if part.is_complex() else part for part in parts]
        total = torch.stack([part.sum() for part in real]).sum() if real else torch.zeros(())
        along = torch.autograd.grad(total, seeds, allow_unused=True) if total.requires_grad else [None] * len(seeds)
        return [torch.zeros_like(z) if e is None else e for e, z in zip(along, self._outputs, strict=True)]


def connect_all(node: Proportion, outputs: Sequence[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """:func:`connect` for an operation with several outputs."""
    connected: tuple[Tensor, ...] = _Nodes.apply(node, len(outputs), *outputs, *inputs)
    return connected


class _Nodes(Function):
    @staticmethod
    def forward(ctx: Any, node: Proportion, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.relevance_node, ctx.count = node, count
        ctx.mark_dirty(*tensors[:count])
        return tensors[:count]

    @staticmethod
    def backward(ctx: Any, *relevances: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(None,) * ctx.count, *ctx.relevance_node.backward_all(relevances))
