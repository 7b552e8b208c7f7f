"""LRP through activations, dropout and max pools."""

# ruff: noqa: A002 - torch's own names of arguments

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import Tensor

from altprop._switches import without_gradients
from altprop.ops import names
from altprop.ops.lrp.basics import (
    attach_node,
    constant,
    dependent,
    depends,
    in_proportion,
    move,
    ordinary,
    outside_inference,
)
from altprop.ops.lrp.facts import (
    ANYWHERE,
    PROPORTIONAL,
    Rectified,
    SavedTensor,
    TensorFacts,
    before_overwriting,
    before_rectifying,
    facts_from,
    facts_of,
    set_facts,
)
from altprop.ops.lrp.nodes import AveragePool, Elementwise, Pass, average_pool, connect
from altprop.ops.lrp.pass_ import LRPPass


def activation(lrp: LRPPass, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """a = φ(z): relevance passes unchanged."""
    if not depends(z):
        inputs = dependent((*args, *kwargs.values()))
        return rescaled(lrp, function, inputs[0], z, *args, **kwargs) if inputs else _passive(function, z, args, kwargs)
    if z.is_complex():
        # A map of complex numbers mixes their parts; only the modulus is homogeneous.
        return in_proportion(lrp, function, (z, *args), kwargs) if function.__name__ == "abs" else NotImplemented
    nonnegative = function.__name__.rstrip("_") in _NONNEGATIVE
    return _activated(lrp, function, z, args, kwargs, _is_in_place(function, args, kwargs), nonnegative)


def rescaled(lrp: LRPPass, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """An activation times or divided by something, or in an exponent: relevance passes unchanged."""
    if lrp.gradients:
        return ordinary(lrp, function, *args, **kwargs)
    z = constant(function, *args, **kwargs)
    node = Pass(x.shape)
    if len(args) == 2:
        other = args[1] if args[0] is x else args[0]
        is_tensor = isinstance(other, Tensor)
        node.scaled_by = int(args[0] is not x), other.detach() if is_tensor else other, not depends(other)
    return attach_node(lrp, function, node, z, [x], facts_from([x], consumer=ANYWHERE))


def _passive(function: Callable[..., Any], z: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(z, Tensor) and _is_in_place(function, args, kwargs):
        before_overwriting(z)
    return constant(function, z, *args, **kwargs)


def relu(lrp: LRPPass, function: Callable[..., Any], input: Tensor, inplace: bool = False) -> Any:
    """a = z⁺: relevance passes unchanged."""
    args = (inplace,) if inplace else ()
    in_place = inplace or function.__name__.endswith("_")
    if not depends(input):
        return _passive(function, input, args, {})
    return _activated(lrp, function, input, args, {}, in_place, True)


def _activated(
    lrp: LRPPass,
    function: Callable[..., Any],
    z: Tensor,
    args: Any,
    kwargs: dict[str, Any],
    in_place: bool,
    nonnegative: bool,
) -> Any:
    layer = lrp.layer(function)
    rule = lrp.rule_for(layer, "activation")
    formula = None if rule is None or rule.passes else rule.relevance
    if lrp.gradients and rule is None:
        return _overwriting(function, z, args, kwargs, in_place)
    rectifier = layer.function in {"relu", "relu6"}
    loses_sign = rule is None and layer.function.removeprefix("special_") in _LOSES_SIGN
    kept_z = SavedTensor(z) if formula or loses_sign else None
    facts = TensorFacts(nonnegative, facts_of(z).beyond_first)
    facts_of(z).consumers.append(Rectified(facts) if rectifier and not formula else ANYWHERE)
    own = None
    if in_place:
        own = before_rectifying(z) if layer.function == "relu" else None
        before_overwriting(z)
    a = without_gradients(function)(z.detach(), *args, **kwargs)
    node = Pass() if formula is None or kept_z is None else Elementwise(formula, kept_z, repr(rule))
    if a.shape != z.shape:
        node = Pass(z.shape) if formula is None else node
    node.before = kept_z if loses_sign else None
    connected = connect(node, z) if in_place else connect(node, a, z)
    if own is not None:
        own.was_rectified(connected)
    set_facts(connected, facts)
    if isinstance(node, Elementwise):
        node.set_output(connected)
    lrp.add(layer, node)
    return connected


def _is_in_place(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
    place = _place_of_inplace(function)
    return names.overwrites(function) or bool(
        kwargs.get("inplace") or (place and len(args) >= place and args[place - 1])
    )


@lru_cache(maxsize=512)
def _place_of_inplace(function: Callable[..., Any]) -> int:
    """The place of ``inplace`` among the arguments; 0 if there is none (those of C++ have none)."""
    if not hasattr(inspect.unwrap(function), "__code__"):
        return 0
    arguments = list(inspect.signature(function).parameters)
    return arguments.index("inplace") if "inplace" in arguments else 0


def _overwriting(function: Callable[..., Any], z: Tensor, args: Any, kwargs: dict[str, Any], in_place: bool) -> Any:
    """An activation that may work in place, with its ordinary gradient."""
    if in_place:
        before_overwriting(z)
    beyond = facts_of(z).beyond_first
    facts_of(z).consumers.append(ANYWHERE)
    a = function(z, *map(outside_inference, args), **kwargs)
    set_facts(a, TensorFacts(beyond_first=beyond))
    return a


def normalisation(lrp: LRPPass, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """x divided by its size. By the composite, relevance passes unchanged or goes back in proportion."""
    rule = lrp.rule_for(lrp.layer(function), "normalisation") if depends(z) else None
    if rule is not None and not rule.passes:
        return in_proportion(lrp, function, (z, *args), kwargs)
    return activation(lrp, function, z, *args, **kwargs)


_LOSES_SIGN = {
    "sigmoid", "expit", "hardsigmoid", "logsigmoid", "log_sigmoid", "log_softmax", "softplus", "exp", "exp2", "log",
    "log2", "log10", "logit", "ndtr", "log_ndtr", "erfc",
}  # fmt: skip
"""Activations that are no function of sign: at the end of a model, what comes before them is explained."""

_NONNEGATIVE = {"sigmoid", "hardsigmoid", "softplus", "exp", "square", "abs", "relu6"}
"""Activations without negative values."""


def dropout(
    lrp: LRPPass, function: Callable[..., Any], a: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    """The identity in evaluation mode; values that a dropout forced on by the model keeps retain their relevance."""
    if not training or not p:
        return a
    args = (p, training, True) if inplace else (p, training)
    if not depends(a):
        return constant(function, a, *args)
    return _activated(lrp, function, a, args, {}, inplace or function.__name__.endswith("_"), False)


def max_pool(lrp: LRPPass, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """By the composite: the winner takes all, or relevance goes back as through an average pool."""
    rule = lrp.rule_for(lrp.layer(function), "pool") if depends(x) else None
    if rule is None or not hasattr(rule, "epsilon"):
        return move(lrp, function, x, *args, **kwargs)
    result = constant(function, x, *args, **kwargs)
    z = result[0] if isinstance(result, tuple) else result
    node = AveragePool(x, average_pool(function.__name__, *args, **kwargs), rule.epsilon)
    connected = attach_node(lrp, function, node, z, [x], facts_from([x], consumer=PROPORTIONAL))
    facts_of(connected).nonnegative = facts_of(x).nonnegative
    return (connected, *result[1:]) if isinstance(result, tuple) else connected


MAX_POOLS = {name: name.replace("max", "avg") for name in names.CONTESTS if "max_pool" in name and "frac" not in name}
