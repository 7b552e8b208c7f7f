"""What the rules of LRP have in common, and the three that say the least: moved, mixed, and left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from altprop.ops.linear_maps import LinearMap
from altprop.ops.lrp_run import Run
from altprop.ops.relevance import Call, Proportion, SeveralOutputs, connect, connect_all
from altprop.ops.relevance_flow import OTHER, PROPORTIONAL, Flow, derived, flow_of, set_flow
from altprop.ops.weighted_sums import WeightedSum


def depends(value: Any) -> bool:
    """Whether ``value`` is a tensor that depends on the model's input: unlike parameters, no leaf of the graph."""
    return isinstance(value, Tensor) and value.requires_grad and not value.is_leaf


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
    with torch.no_grad():
        return function(*args, **kwargs)


def finish(run: Run, function: Callable[..., Any], call: Call, z: Tensor, inputs: list[Tensor], flow: Flow) -> Tensor:
    """``z`` with ``call`` as its way back."""
    connected = connect(call, z, *inputs)
    set_flow(connected, flow)
    run.add(run.layer(function), call)
    return connected


def ordinary(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The ordinary gradient."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return constant(function, *args, **kwargs)
    result = function(*args, **kwargs)
    mark(result, inputs, OTHER)
    return result


def mark(result: Any, inputs: list[Tensor], use: Any, *, nonnegative: bool = False) -> None:
    """Note that ``result`` (a tensor or several) was made from ``inputs``, which are used as ``use`` says."""
    parts = [result] if isinstance(result, Tensor) else [part for part in result if isinstance(part, Tensor)]
    made = [part for part in parts if part.requires_grad and all(part is not tensor for tensor in inputs)]
    if made:
        flow = derived(inputs, nonnegative=nonnegative, use=use)
        for part in made:
            set_flow(part, flow)


def move(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values that move unchanged carry their relevance along."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return _moved_constant(function, *args, **kwargs)
    result = function(*args, **kwargs)
    if function.__name__ not in {"__set__", "register_hook", "retain_grad"}:
        keeps = getattr(function, "__name__", "") in _KEEP_SIGN and not any(map(_is_constant, args))
        nonnegative = keeps and all(flow_of(tensor).nonnegative for tensor in inputs)
        mark(result, inputs, None, nonnegative=nonnegative)
    return result


_KEEP_SIGN = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "t", "contiguous", "clone", "expand", "expand_as", "repeat", "__getitem__", "select", "narrow", "chunk", "split",
    "unbind", "cat", "concat", "concatenate", "stack", "dropout", "dropout2d", "dropout3d", "flip", "roll",
    "channel_shuffle", "pixel_shuffle", "repeat_interleave", "movedim", "swapaxes", "float", "double", "to",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
}  # fmt: skip
"""Functions whose output has no negative entries if the input has none."""


def _moved_constant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The values of parameters; or a view that activations may be written into, which no_grad would forbid."""
    result = function(*args, **kwargs)
    if isinstance(result, Tensor) and not result.requires_grad:
        return result
    return constant(function, *args, **kwargs)


def _is_constant(value: Any) -> bool:
    """Whether there is a tensor of values in ``value`` that does not depend on the input: its sign is not known."""
    if type(value) in {list, tuple}:
        return any(map(_is_constant, value))
    return isinstance(value, Tensor) and value.is_floating_point() and not depends(value)


def fallback(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """No rule is known: the gradient times the input."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return constant(function, *args, **kwargs)
    return in_proportion(run, function, args, kwargs)


def mixture(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """z = Σ c_i x_i: in proportion to each input's contribution, R_i = c_i x_i R / (z + ε·sign z)."""
    if not dependent((*args, *kwargs.values())):
        return constant(function, *args, **kwargs)
    if run.gradients:
        return ordinary(run, function, *args, **kwargs)
    return in_proportion(run, function, args, kwargs)


def in_proportion(
    run: Run,
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    parts: Sequence[float] = (),
    surrogate: Callable[..., Any] | None = None,
) -> Any:
    """The result of ``function``, with :class:`Proportion` as its way back.

    Args:
        run: the forward pass.
        function: what is computed.
        args: its arguments.
        kwargs: its arguments by name.
        parts: the part of the relevance that each tensor which depends on the input gets; by default all of it.
        surrogate: what is differentiated in place of ``function``, and has the same value.
    """
    inputs = dependent((*args, *kwargs.values()))
    hollow_args, hollow_kwargs = _hollow(args), {name: _hollow(value) for name, value in kwargs.items()}

    def f(leaves: Sequence[Tensor]) -> Any:
        left = iter(leaves)
        positional = _filled(hollow_args, left)
        return (surrogate or function)(*positional, **{name: _filled(v, left) for name, v in hollow_kwargs.items()})

    leaves = [value.detach().requires_grad_() for value in inputs]
    with torch.enable_grad():
        z = f(leaves)
    rule = run.rule_for(run.layer(function), "sum")
    epsilon = run.epsilon if rule is None else rule.epsilon
    if isinstance(z, Tensor):
        call = Proportion(f, z, leaves, inputs, parts or [1.0] * len(leaves), epsilon)
        # A copy: the backward pass of function may need its own output, which the model may overwrite.
        return finish(run, function, call, z.detach().clone(), inputs, derived(inputs, use=PROPORTIONAL))
    if not isinstance(z, tuple | list):
        raise RuntimeError(f"LRP has no rule for {function}, which returns {type(z).__name__}: write it with tensors.")
    return _several(z, leaves, inputs, epsilon)


_HOLE = object()


def _hollow(value: Any) -> Any:
    """Arguments with a hole for each tensor that depends on the model's input."""
    if type(value) in {list, tuple}:
        return type(value)(map(_hollow, value))
    if depends(value):
        return _HOLE
    return value.detach() if isinstance(value, Tensor) else value


def _filled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Arguments with the next of ``tensors`` in each hole."""
    if type(value) in {list, tuple}:
        return type(value)(_filled(item, tensors) for item in value)
    return next(tensors) if value is _HOLE else value


def _several(results: Any, leaves: list[Tensor], inputs: list[Tensor], epsilon: float) -> Any:
    outputs = [part for part in results if isinstance(part, Tensor) and part.requires_grad]
    connected = iter(
        connect_all(SeveralOutputs(outputs, leaves, epsilon), [z.detach().clone() for z in outputs], *inputs)
    )
    derived(inputs, use=PROPORTIONAL)
    parts = [next(connected) if isinstance(part, Tensor) and part.requires_grad else part for part in results]
    return tuple(parts)


def weighted_sum(
    run: Run,
    function: Callable[..., Any],
    linear_map: LinearMap,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The value of ``function(*args, **kwargs)`` which is W x + b, with the rule of the layer as its way back."""
    if not depends(x):
        return constant(function, *args, **kwargs)
    layer = run.layer(function)
    layer.first = not flow_of(x).beyond_first
    if run.gradients and run.rule_for(layer, "layer") is None:
        return ordinary(run, function, *args, **kwargs)
    z = constant(function, *args, **kwargs)
    call = WeightedSum(layer, linear_map, x, weight, bias, run.parts)
    connected = connect(call, z, x)
    set_flow(connected, Flow())
    call.set_output(connected)
    run.add(layer, call)
    return connected


def transposed_weight(weight: Tensor) -> Tensor:
    """(out, in) from (in, out), as a constant."""
    with torch.no_grad():
        return weight.t()
