"""What LRP's rules share, and the basic ones: values moved, mixed, left to their gradient, or summed with weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from altprop._switches import with_gradients, without_gradients
from altprop.ops import names
from altprop.ops.linear_maps import LinearMap
from altprop.ops.lrp.facts import (
    ANYWHERE,
    PROPORTIONAL,
    TensorFacts,
    before_overwriting,
    facts_from,
    facts_of,
    is_followed,
    set_facts,
)
from altprop.ops.lrp.layer import Layer, WeightedSum
from altprop.ops.lrp.nodes import RelevanceNode, connect, nodes_of
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.proportion import Homogeneous, Proportion, connect_all


def depends(value: Any) -> bool:
    """Whether ``value`` is a tensor that depends on the model's input, unlike parameters."""
    return isinstance(value, Tensor) and value.requires_grad and not value.is_leaf and is_followed(value)


def dependent(values: Any) -> list[Tensor]:
    """The tensors among ``values``, and in sequences among them, that depend on the model's input."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            if depends(value):
                found.append(value)
        elif type(value) in {list, tuple}:
            found += dependent(value)
    return found


def constant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The value of ``function``, which depends on nothing that is explained."""
    return without_gradients(function)(*args, **kwargs)


def attach_node(
    lrp: LRPPass, function: Callable[..., Any], node: RelevanceNode, z: Tensor, inputs: list[Tensor], facts: TensorFacts
) -> Tensor:
    """Put ``node`` on ``z``, and record the operation."""
    connected = connect(node, z, *inputs)
    set_facts(connected, facts)
    lrp.add(lrp.layer(function), node)
    return connected


def ordinary(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The ordinary gradient."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return constant(function, *args, **kwargs)
    if names.overwrites(function):
        before_overwriting(args[0])
    result = function(*map(outside_inference, args), **kwargs)
    note_facts(result, inputs, ANYWHERE)
    return result


def note_facts(result: Any, inputs: list[Tensor], consumer: Any, *, nonnegative: bool = False) -> None:
    """Set the facts of ``result`` (one tensor or several), made from ``inputs`` by ``consumer``."""
    parts = [result] if isinstance(result, Tensor) else list(tree_leaves(result))
    made = [part for part in parts if isinstance(part, Tensor) and part.requires_grad]
    if made:
        facts = facts_from(inputs, nonnegative=nonnegative, consumer=consumer)
        for part in made:
            set_facts(part, facts)


def outside_inference(value: Any) -> Any:
    """A copy of a tensor that was made in inference mode, which autograd can keep for the backward pass."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def move(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values that move unchanged carry their relevance along."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return _moved_constant(function, *args, **kwargs)
    sources = nodes_of(inputs) if lrp.reports else ()
    result = function(*args, **kwargs)
    name = function.__name__
    if name in _UNMOVED or any(result is tensor for tensor in inputs):
        return result
    if name in _IDENTITIES and len(inputs) == 1 and getattr(result, "shape", None) == inputs[0].shape:
        set_facts(result, facts_of(inputs[0]))
        return result
    keeps = name in _KEEP_SIGN and not any(map(_is_constant, args))
    nonnegative = keeps and all(facts_of(tensor).nonnegative for tensor in inputs)
    note_facts(result, inputs, None, nonnegative=nonnegative)
    lrp.watch_move(function, result, sources)
    return result


_UNMOVED = {"__set__", "register_hook", "retain_grad", "requires_grad_"}
"""Functions that do nothing to the values."""

_IDENTITIES = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone",
    "expand", "expand_as", "broadcast_to", "atleast_1d", "atleast_2d", "atleast_3d", "float", "double", "half",
    "bfloat16", "to", "type", "type_as", "ravel", "alias_copy", "view_copy", "positive", "__pos__", "nan_to_num",
}  # fmt: skip
"""Functions whose output is their input, if it has its shape: what is known of the one is known of the other."""


_KEEP_SIGN = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "t", "contiguous", "clone", "expand", "expand_as", "repeat", "__getitem__", "select", "narrow", "chunk", "split",
    "unbind", "cat", "concat", "concatenate", "stack", "dropout", "dropout2d", "dropout3d", "flip", "roll",
    "channel_shuffle", "pixel_shuffle", "repeat_interleave", "movedim", "swapaxes", "float", "double", "to",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
}  # fmt: skip
"""Functions whose output has no negative entries if the input has none."""


def _moved_constant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A constant, or a view into which activations may be written: no_grad would forbid that."""
    result = function(*args, **kwargs)
    if isinstance(result, Tensor) and not result.requires_grad:
        return result
    return constant(function, *args, **kwargs)


def _is_constant(value: Any) -> bool:
    """Whether ``value`` holds a float tensor that does not depend on the input: its sign is not known."""
    if type(value) in {list, tuple}:
        return any(map(_is_constant, value))
    return isinstance(value, Tensor) and value.is_floating_point() and not depends(value)


def mixture(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """z = Σ c_i x_i: in proportion to each input's contribution, R_i = c_i x_i R / (z + ε·sign z)."""
    if not dependent((*args, *kwargs.values())):
        return constant(function, *args, **kwargs)
    if lrp.gradients and lrp.rule_for(lrp.layer(function), "sum") is None:
        return ordinary(lrp, function, *args, **kwargs)
    return in_proportion(lrp, function, args, kwargs)


def homogeneous(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A homogeneous function of its inputs, such as a variance: in proportion to x·∂z/∂x."""
    if lrp.gradients or not dependent((*args, *kwargs.values())):
        return ordinary(lrp, function, *args, **kwargs)
    return in_proportion(lrp, function, args, kwargs, kind=Homogeneous)


def in_proportion(
    lrp: LRPPass,
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    parts: Sequence[float] = (),
    surrogate: Callable[..., Any] | None = None,
    kind: type[Proportion] = Proportion,
) -> Any:
    """The result of ``function``, with a :class:`Proportion` node on it.

    Args:
        lrp: the forward pass.
        function: what is computed.
        args: its arguments.
        kwargs: its arguments by name.
        parts: the part of the relevance that each tensor which depends on the input gets; by default all of it.
        surrogate: what is differentiated in place of ``function``, and has the same value but for rounding.
        kind: :class:`Proportion`, or a kind of it.
    """
    inputs = dependent((*args, *kwargs.values()))
    hollow_args, hollow_kwargs = _hollow(args), {name: _hollow(value) for name, value in kwargs.items()}
    differentiated = surrogate or function

    def f(leaves: Sequence[Tensor]) -> Any:
        left = iter(leaves)
        positional = _filled(hollow_args, left)
        return differentiated(*positional, **{name: _filled(v, left) for name, v in hollow_kwargs.items()})

    def outputs_of(leaves: Sequence[Tensor]) -> list[Tensor]:
        return _differentiable(f(leaves))

    leaves = [value.detach().requires_grad_() for value in inputs]
    made = with_gradients(f)(leaves)
    outputs = _differentiable(made)
    if any(value.layout != torch.strided for value in (*leaves, *outputs)):
        raise NotImplementedError(
            f"LRP has no rule for {lrp.layer(function).function} of sparse tensors: write it with dense ones "
            f"(tensor.to_dense())."
        )
    rule = lrp.rule_for(lrp.layer(function), "sum")
    epsilon = lrp.epsilon if rule is None else rule.epsilon
    node = kind(outputs_of, outputs, leaves, inputs, parts or [1.0] * len(leaves), epsilon)
    # Copies: the backward pass of function may need its own output, which the model may overwrite.
    if isinstance(made, Tensor):
        z = made.detach().clone() if surrogate is None else constant(function, *args, **kwargs)
        return attach_node(lrp, function, node, z, inputs, facts_from(inputs, consumer=PROPORTIONAL)) if outputs else z
    flat, structure = tree_flatten(made)
    connected = iter(connect_all(node, [z.detach().clone() for z in outputs], *inputs) if outputs else ())
    result = tree_unflatten([next(connected) if _differentiable(value) else value for value in flat], structure)
    note_facts(result, inputs, PROPORTIONAL)
    lrp.add(lrp.layer(function), node)
    return result


def _differentiable(made: Any) -> list[Tensor]:
    """The tensors in a result that require a gradient."""
    leaves = [made] if isinstance(made, Tensor) else tree_leaves(made)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]


_HOLE = object()


def _hollow(value: Any) -> Any:
    """The arguments with placeholders for tensors that depend on the model's input."""
    if type(value) in {list, tuple}:
        return type(value)(map(_hollow, value))
    if depends(value):
        return _HOLE
    return outside_inference(value).detach() if isinstance(value, Tensor) else value


def _filled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The arguments with the next of ``tensors`` in place of each placeholder."""
    if type(value) in {list, tuple}:
        return type(value)(_filled(item, tensors) for item in value)
    return next(tensors) if value is _HOLE else value


def weighted_sum(
    lrp: LRPPass,
    layer: Layer,
    linear_map: LinearMap,
    operands: tuple[Tensor, Tensor, Tensor | None],
    function: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The value of ``function(*args, **kwargs)``, which is W x + b, with a :class:`WeightedSum` node on it.

    Args:
        lrp: the forward pass.
        layer: the operation.
        linear_map: x ↦ W x + b.
        operands: x, which depends on the input, W and b, which do not.
        function: what is computed.
        *args: its arguments.
        **kwargs: its arguments by name.
    """
    x, weight, bias = operands
    layer.first = not facts_of(x).beyond_first
    rule = lrp.rule_for(layer, "layer")
    if lrp.gradients and rule is None:
        z = ordinary(lrp, function, *args, **kwargs)
        facts_of(z).beyond_first = True
        return z
    if x.is_complex() or weight.is_complex():
        return _complex_sum(lrp, layer, rule, function, args, kwargs)
    z = constant(function, *args, **kwargs)
    node = WeightedSum(layer, linear_map, x, weight, bias, lrp.cache)
    connected = connect(node, z, x)
    set_facts(connected, TensorFacts())
    node.set_output(connected)
    lrp.add(layer, node)
    return connected


def _complex_sum(
    lrp: LRPPass, layer: Layer, rule: Any, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    """A layer of complex numbers: in proportion, each real and imaginary part by itself, or not at all.

    Raises:
        ValueError: the composite gives it another rule than that.
    """
    if rule is not None and not getattr(rule, "in_proportion", False):
        raise ValueError(
            f"The layer {layer.name!r} computes with complex numbers, for which there is no {rule!r}: give it Epsilon."
        )
    z = in_proportion(lrp, function, args, kwargs)
    facts_of(z).beyond_first = True
    return z
