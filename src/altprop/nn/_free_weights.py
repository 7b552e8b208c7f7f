"""Warn of weight matrices outside layers, as in ``x @ self.w``: the first pass shows which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from altprop.rule import Attachment

_HANDLE = "_altprop_first_pass"
_PRODUCTS = ("Mm", "Addmm", "Bmm", "Baddbmm", "Addbmm", "Mv", "Addmv", "Addr", "Linear", "Convolution")
_MOVES = (
    "T", "Transpose", "Permute", "View", "UnsafeView", "Reshape", "ReshapeAlias", "Expand", "Unsqueeze", "Squeeze",
    "Select", "Slice", "Split", "SplitWithSizes", "Unbind", "Clone", "ToCopy",
)  # fmt: skip


def watch_free_weights(module: nn.Module, model: nn.Module, explained: Callable[[], bool]) -> None:
    """Warn, at the first pass of ``module`` in ``model``, of its own matrices that multiply activations.

    Not in a pass that is ``explained``: that one is not the rule's.
    """
    if any(parameter.dim() >= 2 for parameter in module.parameters(recurse=False)):
        module.__dict__[_HANDLE] = module.register_forward_hook(_FirstPass(model, explained))


def unwatch_free_weights(module: nn.Module) -> None:
    """Undo :func:`watch_free_weights`."""
    handle = module.__dict__.get(_HANDLE)
    if handle is not None:
        handle.remove()
        del module.__dict__[_HANDLE]


class _FirstPass:
    """A forward hook that removes itself after one pass."""

    def __init__(self, model: nn.Module, explained: Callable[[], bool]) -> None:
        self.model = model
        self.explained = explained

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled() or self.explained():
            return
        attachment = Attachment.of(self.model)
        if attachment is None or not attachment.active:
            return
        if not attachment.rule._is_strict:
            unwatch_free_weights(module)
        own = {id(parameter): name for name, parameter in module.named_parameters(recurse=False)}
        names = {own[id(weight)] for weight in _multiplied(output) if id(weight) in own}
        if names:
            path = next(name for name, inner in self.model.named_modules() if inner is module)
            listed = ", ".join(f"{path}.{name}" if path else name for name in own.values() if name in names)
            attachment.rule._tell(
                f"{attachment.rule!r} does not handle these weights, which belong to no layer that it knows and keep "
                f"backprop: {listed}.",
            )


def _multiplied(output: Any) -> Iterator[Any]:
    """The leaves of the graph of ``output`` that are factors of a product or a convolution, also through views."""
    waiting = [leaf.grad_fn for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node: Any = waiting.pop()
        operands = [operand for operand, _ in node.next_functions if operand is not None]
        waiting += (new := set(operands) - seen)
        seen |= new
        if node.name().removesuffix("Backward0") not in _PRODUCTS:
            continue
        for factor in operands:
            while factor.name().removesuffix("Backward0") in _MOVES:
                factor = factor.next_functions[0][0]  # noqa: PLW2901
            if hasattr(factor, "variable"):
                yield factor.variable
