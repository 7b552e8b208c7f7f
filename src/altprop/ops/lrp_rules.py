"""How relevance flows back through each torch function: the table, then the rules it names.

A rule is ``rule(run, function, *arguments)``. It computes what ``function(*arguments)`` computes, and puts a node of
:mod:`altprop.ops.relevance` on the result. Tensors that do not depend on the model's input, weights above all, take part
as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.nn.activations import sign, step
from altprop.ops import names
from altprop.ops.interceptor import Interceptor
from altprop.ops.linear_maps import LinearMap, Matrix, convolution, uneven_padding
from altprop.ops.lrp_run import Run
from altprop.ops.multi_head_attention import multi_head_attention_parts
from altprop.ops.names import OpRule
from altprop.ops.relevance import (
    AveragePool,
    Call,
    Elementwise,
    Halves,
    Pass,
    Proportion,
    SeveralOutputs,
    Softmax,
    Sum,
    average_pool,
    connect,
    connect_all,
)
from altprop.ops.relevance_flow import (
    OTHER,
    PROPORTIONAL,
    Flow,
    Kept,
    Rectified,
    before_overwriting,
    before_rectifying,
    derived,
    flow_of,
    set_flow,
)
from altprop.ops.weighted_sums import BatchNorm, WeightedSum

_KEEP_SIGN = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose",
    "t", "contiguous", "clone", "expand", "expand_as", "repeat", "__getitem__", "select", "narrow", "chunk", "split",
    "unbind", "cat", "concat", "concatenate", "stack", "dropout", "dropout2d", "dropout3d", "flip", "roll", "channel_shuffle",
    "pixel_shuffle", "repeat_interleave", "movedim", "swapaxes", "float", "double", "to",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
}  # fmt: skip
"""Functions whose output has no negative entries if the input has none."""

_NONNEGATIVE = {"sigmoid", "hardsigmoid", "softplus", "exp", "square", "abs", "relu6"}
"""Activations without negative values."""


def _table() -> dict[str | Callable[..., Any], OpRule]:
    return {
        # z = W x + b: the rule of the layer
        "linear": linear,
        **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolved),
        **dict.fromkeys(names.TRANSPOSED_CONVOLUTIONS, convolved),
        "addmm": added_product,
        **dict.fromkeys(("addbmm", "baddbmm", "addmv"), added_product),
        # activations
        **dict.fromkeys(names.ACTIVATIONS, activation),
        step: activation,
        sign: activation,
        "prelu": activation,
        "log_softmax": activation,
        "relu": relu,
        "relu_": relu,
        "glu": gated_linear_unit,
        # values that only move; the winner of a contest takes all
        **dict.fromkeys(names.MOVES, move),
        **dict.fromkeys(names.MOVING_ATTRIBUTES, move),
        **dict.fromkeys((name for name in names.CONTESTS if "relu" not in name), move),
        **dict.fromkeys(_MAX_POOLS, max_pool),
        **dict.fromkeys(names.DROPOUTS, dropout),
        **dict.fromkeys(names.OVERWRITES, overwrite),
        # mixtures: in proportion to contributions
        **dict.fromkeys(names.MIXTURES, mixture),
        **dict.fromkeys(("add", "__add__", "__radd__"), add),
        # normalisations
        "batch_norm": batch_norm,
        "layer_norm": layer_norm,
        "group_norm": group_norm,
        "instance_norm": instance_norm,
        **dict.fromkeys(("rms_norm", "normalize", "local_response_norm"), activation),
        # products of two activations
        **dict.fromkeys(names.ELEMENTWISE_PRODUCTS, elementwise_product),
        **dict.fromkeys(names.QUOTIENTS, quotient),
        **dict.fromkeys(names.MATRIX_PRODUCTS, matrix_product),
        "softmax": softmax,
        "scaled_dot_product_attention": attention,
        "multi_head_attention_forward": multi_head_attention,
        "embedding": embedding,
        # in-place arithmetic, as its out-of-place twin
        **{name: in_place(twin) for name, twin in names.IN_PLACE_MIXTURES.items()},
        **dict.fromkeys(("add_", "__iadd__"), add_in_place),
        **{name: in_place(twin) for name, twin in names.IN_PLACE_PRODUCTS.items()},
        **{name: in_place(twin) for name, twin in names.IN_PLACE_QUOTIENTS.items()},
        **dict.fromkeys(names.OBJECTIVES, ordinary),
    }


_MAX_POOLS = {name: name.replace("max", "avg") for name in names.CONTESTS if "max_pool" in name and "frac" not in name}


# ---------------------------------------------------------------------------------------------------------------------
# What the rules have in common.


def depends(value: Any) -> bool:
    """Whether ``value`` is a tensor that depends on the model's input: parameters are leaves of the graph, it is none."""
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


def _constant(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The value of ``function``, which depends on nothing that is explained."""
    with torch.no_grad():
        return function(*args, **kwargs)


def _finish(run: Run, function: Callable[..., Any], call: Call, z: Tensor, inputs: list[Tensor], flow: Flow) -> Tensor:
    """``z`` with ``call`` as its way back."""
    connected = connect(call, z, *inputs)
    set_flow(connected, flow)
    run.add(run.layer(function), call)
    return connected


def ordinary(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The ordinary gradient."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return _constant(function, *args, **kwargs)
    result = function(*args, **kwargs)
    _mark(result, inputs, OTHER)
    return result


def _mark(result: Any, inputs: list[Tensor], use: Any, *, nonnegative: bool = False) -> None:
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
        return _constant(function, *args, **kwargs)
    result = function(*args, **kwargs)
    if function.__name__ not in {"__set__", "register_hook", "retain_grad"}:
        keeps = getattr(function, "__name__", "") in _KEEP_SIGN and not any(map(_is_constant, args))
        nonnegative = keeps and all(flow_of(tensor).nonnegative for tensor in inputs)
        _mark(result, inputs, None, nonnegative=nonnegative)
    return result


def _is_constant(value: Any) -> bool:
    """Whether there is a tensor of values in ``value`` that does not depend on the input: its sign is not known."""
    if type(value) in {list, tuple}:
        return any(map(_is_constant, value))
    return isinstance(value, Tensor) and value.is_floating_point() and not depends(value)


def fallback(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """No rule is known: the gradient times the input."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs:
        return _constant(function, *args, **kwargs)
    return _in_proportion(run, function, args, kwargs)


def mixture(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """z = Σ c_i x_i: in proportion to each input's contribution, R_i = c_i x_i R / (z + ε·sign z)."""
    if not dependent((*args, *kwargs.values())):
        return _constant(function, *args, **kwargs)
    if run.gradients:
        return ordinary(run, function, *args, **kwargs)
    return _in_proportion(run, function, args, kwargs)


def _in_proportion(
    run: Run,
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    part: float = 1.0,
    surrogate: Callable[..., Any] | None = None,
) -> Any:
    """The result of ``function``, with :class:`Proportion` as its way back.

    Args:
        run: the forward pass.
        function: what is computed.
        args: its arguments.
        kwargs: its arguments by name.
        part: the part of the relevance that each tensor gets.
        surrogate: what is differentiated in place of ``function``, and has the same value.
    """
    inputs: list[Tensor] = []
    leaves: list[Tensor] = []

    def leaf(value: Any) -> Any:
        if type(value) in {list, tuple}:
            return type(value)(leaf(item) for item in value)
        if not depends(value):
            return value.detach() if isinstance(value, Tensor) else value
        inputs.append(value)
        leaves.append(value.detach().requires_grad_())
        return leaves[-1]

    with torch.enable_grad():
        z = (surrogate or function)(*leaf(args), **{name: leaf(value) for name, value in kwargs.items()})
    rule = run.rule_for(run.layer(function), "sum")
    epsilon = run.epsilon if rule is None else rule.epsilon
    if isinstance(z, Tensor):
        call = Proportion(z, leaves, [part] * len(leaves), epsilon)
        return _finish(run, function, call, z.detach(), inputs, derived(inputs, use=PROPORTIONAL))
    if not isinstance(z, tuple | list):
        raise RuntimeError(f"LRP has no rule for {function}, which returns {type(z).__name__}: write it with tensors.")
    return _several(z, leaves, inputs, epsilon)


def _several(results: Any, leaves: list[Tensor], inputs: list[Tensor], epsilon: float) -> Any:
    outputs = [part for part in results if isinstance(part, Tensor) and part.requires_grad]
    connected = iter(connect_all(SeveralOutputs(outputs, leaves, epsilon), [z.detach() for z in outputs], *inputs))
    derived(inputs, use=PROPORTIONAL)
    parts = [next(connected) if isinstance(part, Tensor) and part.requires_grad else part for part in results]
    return tuple(parts)


# ---------------------------------------------------------------------------------------------------------------------
# Layers with weights.


def linear(run: Run, function: Callable[..., Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
    """The rule that the composite gives the layer."""
    if depends(w):
        return matrix_product(run, torch.matmul, x, w.t()) if b is None else mixture(run, function, x, w, b)
    return _weighted_sum(run, function, Matrix(), x, w, b, x, w, b)


def convolved(
    run: Run, function: Callable[..., Any], input: Tensor, weight: Tensor, bias: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """The rule that the composite gives the layer."""
    if not depends(input) or depends(weight):
        return mixture(run, function, input, weight, bias, *args, **kwargs)
    if input.dim() < weight.dim():
        one = convolved(run, function, move(run, torch.unsqueeze, input, 0), weight, bias, *args, **kwargs)
        return move(run, torch.squeeze, one, 0)
    name = function.__name__
    pads = [] if name in names.TRANSPOSED_CONVOLUTIONS else uneven_padding(weight, *args, **kwargs)
    x = move(run, F.pad, input, pads) if pads else input
    linear_map = convolution(name, weight, *args, **kwargs)
    return _weighted_sum(run, function, linear_map, x, weight, bias, input, weight, bias, *args, **kwargs)


def _weighted_sum(
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
        return _constant(function, *args, **kwargs)
    layer = run.layer(function)
    layer.first = not flow_of(x).beyond_first
    if run.gradients and run.rule_for(layer, "layer") is None:
        return ordinary(run, function, *args, **kwargs)
    z = _constant(function, *args, **kwargs)
    call = WeightedSum(layer, linear_map, x, weight, bias, run.parts)
    connected = connect(call, z, x)
    set_flow(connected, Flow())
    call.set_output(connected)
    run.add(layer, call)
    return connected


def added_product(run: Run, function: Callable[..., Any], a: Any, x: Any, y: Any, **scales: Any) -> Any:
    """a + x y: a linear layer where y is a weight, else a sum and a product."""
    if scales or function.__name__ == "addbmm" or not dependent((x, y)):
        return mixture(run, function, a, x, y, **scales)
    if not depends(a) and depends(x) and not depends(y) and y.dim() == 2 and x.dim() == 2 and a.dim() == 1:
        return _weighted_sum(run, function, Matrix(), x, _transposed(y), a, a, x, y)
    return add(run, torch.add, a, matrix_product(run, torch.matmul, x, y))


def _transposed(weight: Tensor) -> Tensor:
    with torch.no_grad():
        return weight.t()


# ---------------------------------------------------------------------------------------------------------------------
# Activations, pools and normalisations.


def activation(run: Run, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """a = φ(z): relevance passes unchanged."""
    if not depends(z):
        return mixture(run, function, z, *args, **kwargs)
    return _activated(run, function, z, args, kwargs, function.__name__.rstrip("_") in _NONNEGATIVE)


def relu(run: Run, function: Callable[..., Any], input: Tensor, inplace: bool = False) -> Any:
    """a = z⁺: relevance passes unchanged."""
    if not depends(input):
        return _constant(function, input, inplace) if inplace else _constant(function, input)
    return _activated(run, function, input, (inplace,) if inplace else (), {}, True)


def _activated(
    run: Run, function: Callable[..., Any], z: Tensor, args: Any, kwargs: dict[str, Any], nonnegative: bool
) -> Any:
    layer = run.layer(function)
    rule = run.rule_for(layer, "activation")
    formula = getattr(rule, "relevance", None) if rule is not None and type(rule).__name__ != "Pass" else None
    if run.gradients and rule is None:
        return _overwriting(function, z, args, kwargs)
    rectifier = layer.function in {"relu", "relu6"}
    in_place = _is_in_place(function, args, kwargs)
    kept_z = Kept(z) if formula else None
    flow = Flow(nonnegative, flow_of(z).beyond_first)
    flow_of(z).uses.append(Rectified(flow) if rectifier and not formula else OTHER)
    own = None
    if in_place:
        own = before_rectifying(z) if layer.function == "relu" else None
        before_overwriting(z)
    with torch.no_grad():
        a = function(z.detach(), *args, **kwargs)
    call = Pass() if formula is None or kept_z is None else Elementwise(formula, kept_z, repr(rule))
    connected = connect(call, z) if in_place else connect(call, a, z)
    if own is not None:
        own.was_rectified(connected)
    set_flow(connected, flow)
    if isinstance(call, Elementwise):
        call.set_output(connected)
    run.add(layer, call)
    return connected


def _is_in_place(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
    return function.__name__.endswith("_") or bool(args and args[-1] is True) or bool(kwargs.get("inplace"))


def _overwriting(function: Callable[..., Any], z: Tensor, args: Any, kwargs: dict[str, Any]) -> Any:
    """An activation that may work in place, with its ordinary gradient."""
    if _is_in_place(function, args, kwargs):
        before_overwriting(z)
    beyond = flow_of(z).beyond_first
    flow_of(z).uses.append(OTHER)
    a = function(z, *args, **kwargs)
    set_flow(a, Flow(beyond_first=beyond))
    return a


def gated_linear_unit(run: Run, function: Callable[..., Any], z: Tensor, dim: int = -1) -> Any:
    """GLU: a · σ(b), a product of two activations."""
    if not depends(z) or run.gradients:
        return ordinary(run, function, z, dim)
    a, b = move(run, torch.chunk, z, 2, dim)
    return elementwise_product(run, torch.mul, a, activation(run, torch.sigmoid, b))


def dropout(
    run: Run, function: Callable[..., Any], a: Tensor, p: float = 0.5, training: bool = True, *args: Any, **kwargs: Any
) -> Any:
    """In evaluation mode nothing happens; values that a dropout of the model's own keeps or scales keep their relevance."""
    if not training or not p:
        return a
    return activation(run, function, a, p, training, *args, **kwargs)


def max_pool(run: Run, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The winner takes all, or the relevance goes back as through an average pool: as the composite says."""
    rule = run.rule_for(run.layer(function), "pool") if depends(x) else None
    if rule is None or not hasattr(rule, "epsilon"):
        return move(run, function, x, *args, **kwargs)
    result = _constant(function, x, *args, **kwargs)
    z = result[0] if isinstance(result, tuple) else result
    call = AveragePool(x, average_pool(function.__name__, *args, **kwargs), rule.epsilon)
    connected = _finish(run, function, call, z, [x], derived([x], use=PROPORTIONAL))
    flow_of(connected).nonnegative = flow_of(x).nonnegative
    return (connected, *result[1:]) if isinstance(result, tuple) else connected


def batch_norm(
    run: Run,
    function: Callable[..., Any],
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """One with the layer before it, if nothing else uses that; else relevance passes, or by the composite's rule."""
    args = (input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not depends(input) or run.gradients:
        return ordinary(run, function, *args)
    rule = run.rule_for(run.layer(function), "normalisation")
    if running_mean is None or running_var is None or training:
        return activation(run, function, *args)
    if rule is not None and type(rule).__name__ != "Pass":
        return _in_proportion(run, function, args, {})
    y = _constant(function, *args)
    call = BatchNorm(input, (running_mean, running_var, eps), weight, bias, may_fold=rule is None)
    flow = Flow(beyond_first=flow_of(input).beyond_first)
    connected = _finish(run, function, call, y, [input], flow)
    call.set_output(connected)
    return connected


def layer_norm(
    run: Run,
    function: Callable[..., Any],
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """In proportion to contributions, with the standard deviation as a constant (AttnLRP, section 3.3.3)."""
    if not depends(input) or run.gradients:
        return ordinary(run, function, input, normalized_shape, weight, bias, eps)
    dims = tuple(range(-len(tuple(normalized_shape)), 0))

    def linear_in_x(x: Tensor, *_: Any) -> Tensor:
        normalised = _standardised(x, dims, eps)
        normalised = normalised if weight is None else normalised * weight.detach()
        return normalised if bias is None else normalised + bias.detach()

    return _in_proportion(run, function, (input, normalized_shape, weight, bias, eps), {}, surrogate=linear_in_x)


def group_norm(
    run: Run,
    function: Callable[..., Any],
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """As :func:`layer_norm`, over each group of channels."""
    if not depends(input) or run.gradients:
        return ordinary(run, function, input, num_groups, weight, bias, eps)

    def linear_in_x(x: Tensor, *_: Any) -> Tensor:
        grouped = x.reshape(len(x), num_groups, -1)
        return _per_channel(_standardised(grouped, (-1,), eps).view_as(x), weight, bias)

    return _in_proportion(run, function, (input, num_groups, weight, bias, eps), {}, surrogate=linear_in_x)


def instance_norm(
    run: Run,
    function: Callable[..., Any],
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """As :func:`layer_norm`, over each channel; with running statistics it is a batch norm."""
    if not use_input_stats:
        args = (weight, bias, False, momentum, eps)
        return batch_norm(run, F.batch_norm, input, running_mean, running_var, *args)
    args = (running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if not depends(input) or run.gradients:
        return ordinary(run, function, input, *args)

    def linear_in_x(x: Tensor, *_: Any) -> Tensor:
        return _per_channel(_standardised(x, tuple(range(2, x.dim())), eps), weight, bias)

    return _in_proportion(run, function, (input, *args), {}, surrogate=linear_in_x)


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + eps).detach()


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1, *(1,) * (x.dim() - 2))
    x = x if weight is None else x * weight.detach().view(shape)
    return x if bias is None else x + bias.detach().view(shape)


# ---------------------------------------------------------------------------------------------------------------------
# Sums, products and attention.


def add(run: Run, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """z = a + b: a :func:`mixture`, in fewer steps because residual networks are made of it."""
    inputs = dependent((a, b))
    simple = all(isinstance(term, Tensor) and term.is_floating_point() for term in (a, b)) and not args and not kwargs
    if not inputs or not simple or run.gradients:
        return mixture(run, function, a, b, *args, **kwargs)
    terms = [(depends(term), Kept(term)) for term in (a, b)]
    call = Sum(terms, _sum_epsilon(run, function))
    nonnegative = all(depends(term) and flow_of(term).nonnegative for term in (a, b))
    flow = derived(inputs, use=PROPORTIONAL, nonnegative=nonnegative)
    connected = _finish(run, function, call, _constant(function, a, b), inputs, flow)
    call.set_output(connected)
    return connected


def _sum_epsilon(run: Run, function: Callable[..., Any]) -> float:
    rule = run.rule_for(run.layer(function), "sum")
    return run.epsilon if rule is None else float(rule.epsilon)


def elementwise_product(run: Run, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a · b: half of the relevance to each of two activations; all of it to one activation times a constant."""
    inputs = dependent((a, b))
    if not inputs or run.gradients:
        return ordinary(run, function, a, b, **kwargs)
    if len(inputs) == 1 or a is b:
        return _rescaled(run, function, inputs[0], a, b, **kwargs)
    z = _constant(function, a, b, **kwargs)
    call = Halves([a.shape, b.shape])
    return _finish(run, function, call, z, inputs, derived(inputs, use=OTHER))


def quotient(run: Run, function: Callable[..., Any], a: Any, b: Any, **kwargs: Any) -> Any:
    """a / b: all to a, the divisor is taken as a constant; all to b if a is one."""
    inputs = dependent((a, b))
    if not inputs or run.gradients:
        return ordinary(run, function, a, b, **kwargs)
    return _rescaled(run, function, inputs[0], a, b, **kwargs)


def _rescaled(run: Run, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """An activation times or divided by something: it keeps its relevance."""
    z = _constant(function, *args, **kwargs)
    return _finish(run, function, Pass(x.shape), z, [x], derived([x], use=OTHER))


def matrix_product(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A B: half of the relevance to each of two activations, in proportion (AttnLRP, eq. 15); x W is a linear layer."""
    inputs = dependent((*args, *kwargs.values()))
    if not inputs or run.gradients:
        return ordinary(run, function, *args, **kwargs)
    if function.__name__ in {"matmul", "__matmul__", "mm"} and not kwargs:
        x, w = args
        if depends(x) and not depends(w) and w.dim() == 2:
            return _weighted_sum(run, function, Matrix(), x, _transposed(w), None, x, w)
    return _in_proportion(run, function, args, kwargs, part=1.0 / len(inputs))


def softmax(run: Run, function: Callable[..., Any], input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """a = softmax(x): R_x = x (R − a Σ R) (AttnLRP, eq. 13); a constant in CP-LRP."""
    if not depends(input) or run.gradients:
        return ordinary(run, function, input, dim, *args, **kwargs)
    a = _constant(function, input, dim, *args, **kwargs)
    if run.constant_attention:
        return a
    call = Softmax(Kept(input), dim if dim is not None else F._get_softmax_dim("softmax", input.dim(), 3))
    connected = _finish(run, function, call, a, [input], derived([input], use=OTHER, nonnegative=True))
    call.set_output(connected)
    return connected


def attention(
    run: Run, function: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """softmax(q kᵀ) v: half to v; of the other half, which the softmax passes on, half to each of q and k.

    In CP-LRP all to v. The function's own backward pass does the rest, so that fused kernels stay in use.
    """
    if run.gradients or not dependent((query, key, value)):
        return ordinary(run, function, query, key, value, *args, **kwargs)
    if run.constant_attention:
        return _in_proportion(run, function, (query.detach(), key.detach(), value, *args), kwargs)
    inputs, leaves, parts = [], [], []
    for tensor, part in ((query, 0.25), (key, 0.25), (value, 0.5)):
        inputs.append(tensor)
        leaves.append(tensor.detach().requires_grad_(depends(tensor)))
        parts.append(part)
    with torch.enable_grad():
        z = function(*leaves, *args, **kwargs)
    taken = [n for n, tensor in enumerate(inputs) if depends(tensor)]
    call = Proportion(z, [leaves[n] for n in taken], [parts[n] for n in taken], run.epsilon)
    reached = [inputs[n] for n in taken]
    return _finish(run, function, call, z.detach(), reached, derived(reached, use=PROPORTIONAL))


def multi_head_attention(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``nn.MultiheadAttention`` reaches an interceptor as one call: compute its parts, each by its own rule."""
    with Interceptor(LRP_TABLE, run, unknown=run.unknown, fallback=fallback):
        return multi_head_attention_parts(*args, **kwargs)


def embedding(run: Run, function: Callable[..., Any], indices: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The relevance of tokens is asked for at their vectors."""
    vectors = _constant(function, indices, *args, **kwargs)
    return run.embed(indices, vectors)


# ---------------------------------------------------------------------------------------------------------------------
# What is written over something else.


def overwrite(run: Run, function: Callable[..., Any], target: Any, *args: Any, **kwargs: Any) -> Any:
    """Values written into ``target`` take their relevance along."""
    if not dependent((target, *args, *kwargs.values())):
        return _constant(function, target, *args, **kwargs)
    sources = dependent((target, *args, *kwargs.values()))
    before_overwriting(target)
    result = function(target, *args, **kwargs)
    set_flow(target, derived(sources))
    return result


def in_place(twin: str) -> OpRule:
    """A rule for ``x.twin_(y)``: out of place from a copy of x, which is about to be lost; then written into x."""
    function = getattr(torch, twin)

    def in_place_rule(run: Run, original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        if not dependent((x, *args)):
            return _constant(original, x, *args, **kwargs)
        rule = LRP_TABLE[function]
        before_overwriting(x)
        result = rule(run, function, move(run, torch.clone, x), *args, **kwargs)
        x.copy_(result)
        set_flow(x, flow_of(result))
        return x

    return in_place_rule


def add_in_place(run: Run, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """a += b: as :func:`add`, with one copy less than the other in-place operations."""
    inputs = dependent((a, b))
    simple = isinstance(b, Tensor) and b.is_floating_point() and b is not a and not args and not kwargs
    if not inputs or not simple or run.gradients or not a.is_floating_point():
        return in_place("add")(run, function, a, b, *args, **kwargs)
    old = before_overwriting(a, copy=True)
    assert old is not None
    call = Sum([(depends(a), Kept(old)), (depends(b), Kept(b))], _sum_epsilon(run, function))
    nonnegative = len(inputs) == 2 and flow_of(a).nonnegative and flow_of(b).nonnegative
    flow = derived(inputs, use=PROPORTIONAL, nonnegative=nonnegative)
    a.detach().add_(b.detach())
    connected = _finish(run, function, call, a, [b] if depends(b) else [], flow)
    call.set_output(connected)
    return connected


LRP_TABLE = names.resolve(_table())
