"""LRP's table from torch function to rule, and the rules that are in no other file.

A rule is ``rule(lrp, function, *arguments)``. It computes what ``function(*arguments)`` computes, and puts a node of
:mod:`altprop.ops.lrp.nodes` on the result. Tensors that do not depend on the model's input, weights above all, take
part as constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from altprop.nn.activations import sign, step
from altprop.ops import names
from altprop.ops.interceptor import Interceptor
from altprop.ops.lrp.activations import MAX_POOLS, activation, dropout, max_pool, normalisation, relu
from altprop.ops.lrp.basics import constant, dependent, depends, homogeneous, in_proportion, mixture, move, ordinary
from altprop.ops.lrp.in_place import (
    RESHAPES_IN_PLACE,
    add_in_place,
    fallback,
    in_place,
    overwrite,
    reshaped_in_place,
    twin_of,
    with_out,
)
from altprop.ops.lrp.linear import batch_norm, convolved, group_norm, instance_norm, layer_norm, linear
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.products import (
    add,
    added_product,
    attention,
    bilinear,
    elementwise_product,
    matrix_product,
    matrix_quotient,
    product_added,
    quotient,
    quotient_added,
    softmax,
    subtract,
)
from altprop.ops.lrp.written_out import (
    cosine_similarity,
    cross_entropy,
    gated_linear_unit,
    huber_loss,
    kl_div,
    l1_loss,
    lerp,
    mse_loss,
    prelu,
    product_with_log,
    product_with_log1p,
    rms_norm,
    smooth_l1_loss,
    softmin,
)
from altprop.ops.multi_head_attention import multi_head_attention_parts
from altprop.ops.names import Key, OpRule

Groups = list[tuple[Iterable[Key], OpRule]]


def _out_of_place() -> Groups:
    """Every function that works out of place."""
    return [
        # z = W x + b: the rule of the layer
        (("linear",), linear),
        (("conv1d", "conv2d", "conv3d", *names.TRANSPOSED_CONVOLUTIONS), convolved),
        # sums with a product in them: a linear layer where one factor is a weight
        (("addmm", "addbmm", "baddbmm", "addmv"), added_product),
        (("addr", "addcmul"), product_added),
        (("addcdiv",), quotient_added),
        (("lerp",), lerp),
        # activations
        (
            (
                *_but(names.ACTIVATIONS, *_REFLECTED, *_CLAMPS, *_CLAMPS_IN_PLACE),
                *names.SECOND_OPERAND_ACTIVATIONS,
                "log_softmax",
            ),
            activation,
        ),
        ((step, sign), activation),
        (_CLAMPS, clamp),
        (_REFLECTED, reflected),
        (("relu", "relu_"), relu),
        (("prelu",), prelu),
        (("glu",), gated_linear_unit),
        # values that only move; the winner of a contest takes all
        ((*names.MOVES, *names.COMPLEX_MOVES, *_but(names.MOVING_ATTRIBUTES, *names.COMPLEX_MOVES)), move),
        (_but(names.CONTESTS, "relu", "relu_", *MAX_POOLS), move),
        (MAX_POOLS, max_pool),
        (names.DROPOUTS, dropout),
        (("embedding",), embedding),
        # mixtures: in proportion to contributions
        (_but(names.MIXTURES, *_SUMS, *_DIFFERENCES, "index_put", *_ALPHA_DROPOUTS), mixture),
        (names.FOURIER, mixture),
        (_SUMS, add),
        (_DIFFERENCES, subtract),
        (("index_put",), index_put),
        (_ALPHA_DROPOUTS, alpha_dropout),
        (names.SAMPLERS, sampler),
        (("embedding_bag",), embedding_bag),
        # homogeneous of another degree
        *(((name,), of_degree(degree)) for name, degree in _DEGREES.items()),
        (_but(names.HOMOGENEOUS, *_DEGREES, *_PRODUCTS, *_REDUCTIONS, "segment_reduce"), homogeneous),
        (_REDUCTIONS, scatter_reduce),
        (("segment_reduce",), segment_reduce),
        # normalisations
        (("batch_norm",), batch_norm),
        (("layer_norm",), layer_norm),
        (("group_norm",), group_norm),
        (("instance_norm",), instance_norm),
        (("rms_norm",), rms_norm),
        (("normalize", "local_response_norm"), normalisation),
        # products and quotients
        (names.ELEMENTWISE_PRODUCTS, elementwise_product),
        ((*names.MATRIX_PRODUCTS, *_PRODUCTS), matrix_product),
        (("bilinear",), bilinear),
        (("xlogy",), product_with_log),
        (("xlog1py",), product_with_log1p),
        (names.QUOTIENTS, quotient),
        # (triangular_solve returns its divisor too, and has no rule)
        *(
            ((name,), matrix_quotient(place))
            for name, place in names.MATRIX_QUOTIENTS.items()
            if place or "tri" not in name
        ),
        # attention
        (("softmax",), softmax),
        (("softmin",), softmin),
        (names.SOFT_MAXIMA, ordinary),
        (("scaled_dot_product_attention",), attention),
        (("multi_head_attention_forward",), multi_head_attention),
        # distances and losses, which are functions like any other
        (("pairwise_distance", "nll_loss"), mixture),
        (("cosine_similarity",), cosine_similarity),
        (("mse_loss",), mse_loss),
        (("l1_loss",), l1_loss),
        (("smooth_l1_loss",), smooth_l1_loss),
        (("huber_loss",), huber_loss),
        (("cross_entropy",), cross_entropy),
        (("kl_div",), kl_div),
    ]


_SUMS = ("add", "__add__", "__radd__")
_DIFFERENCES = ("sub", "subtract", "__sub__")
_DEGREES = {
    "var": 2, "cov": 2, "inv": -1, "inverse": -1, "inv_ex": -1, "pinv": -1, "pinverse": -1, "tensorinv": -1,
    "cholesky": 0.5, "cholesky_ex": 0.5, "cholesky_inverse": -2,
}  # fmt: skip
"""Of functions of one tensor."""
_PRODUCTS = ("cross", "kron", "vdot", "vecdot", "multi_dot", "chain_matmul")
"""Of tensors, each of which has its part."""
_REFLECTED = ("__rpow__", "__rtruediv__", "__rdiv__")
_CLAMPS = ("clamp", "clip", "clamp_min", "clamp_max")
_CLAMPS_IN_PLACE = tuple(f"{name}_" for name in _CLAMPS)
_REDUCTIONS = ("scatter_reduce", "index_reduce")


def _in_place(table: Mapping[Key, OpRule]) -> Groups:
    """Every function that works in place, by the rule of its twin."""
    own: Groups = [
        (("add_", "__iadd__"), add_in_place),
        # these work in place by themselves
        (_but((*_with_in_place_forms(names.ACTIVATIONS), "__ipow__"), *_CLAMPS_IN_PLACE), activation),
        (_CLAMPS_IN_PLACE, clamp_in_place),
        (RESHAPES_IN_PLACE, reshaped_in_place),
        ((*_but(names.OVERWRITES, "index_put_"), *_RANDOM), overwrite),
        (("index_put_",), index_put_in_place),
        (("detach_",), detach_in_place),
    ]
    taken = {*names.joined(own), *table}
    for name in (*_in_place_names(), *names.IN_PLACE_OPERATORS):
        twin = twin_of(getattr(Tensor, name)) if name not in taken and hasattr(Tensor, name) else None
        rule = None if twin is None else table.get(twin.__name__)
        if rule is not None:
            own.append(((name,), in_place(rule)))
    return own


def _in_place_names() -> list[str]:
    return [name for name in dir(Tensor) if name.endswith("_") and not name.startswith("_")]


def _but(listed: Iterable[str], *others: str) -> list[str]:
    return [name for name in listed if name not in others]


def _with_in_place_forms(listed: Iterable[str]) -> list[str]:
    """The in-place forms of these functions that are not listed themselves."""
    forms = [f"{name}_" for name in listed if not name.endswith("_")]
    return [form for form in forms if form not in names.ACTIVATIONS and hasattr(Tensor, form)]


_ALPHA_DROPOUTS = ("alpha_dropout", "feature_alpha_dropout")
_RANDOM = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_")


def of_degree(degree: float) -> OpRule:
    """The rule of a function of one tensor that is homogeneous of this degree: x·∂z/∂x sums to ``degree`` times z."""

    def homogeneous_of_degree(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if len(dependent((*args, *kwargs.values()))) != 1 or lrp.gradients:
            return homogeneous(lrp, function, *args, **kwargs)
        return in_proportion(lrp, function, args, kwargs, parts=[1 / degree])

    homogeneous_of_degree.__doc__ = homogeneous.__doc__
    return homogeneous_of_degree


def reflected(lrp: LRPPass, function: Callable[..., Any], b: Tensor, a: Any) -> Any:
    """a / b or a ** b, called as a method of b: all to a, as if it were written so; all to b if a is a constant."""
    if not depends(a):
        return activation(lrp, function, b, a)

    def straight(a: Tensor, b: Tensor) -> Any:
        return function(b, a)

    return activation(lrp, straight, a, b)


def clamp(lrp: LRPPass, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """An activation; where the bounds depend on the input too, the one that is taken takes all."""
    rule = move if dependent((*args, *kwargs.values())) else activation
    return rule(lrp, function, z, *args, **kwargs)


def clamp_in_place(lrp: LRPPass, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """An activation, in place: the value within its bounds passes its relevance on; a bound that holds takes it."""
    rule = in_place(move) if dependent((*args, *kwargs.values())) else activation
    return rule(lrp, function, z, *args, **kwargs)


def sampler(lrp: LRPPass, function: Callable[..., Any], x: Tensor, grid: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Interpolated values of x, in proportion to the entries they are made of; the grid is a constant."""
    if lrp.gradients or not depends(x):
        return ordinary(lrp, function, x, grid, *args, **kwargs)
    return in_proportion(lrp, function, (x, grid.detach(), *args), kwargs)


def scatter_reduce(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A sum or mean in proportion; a maximum or minimum to its winner; a product in equal parts."""
    reduce = kwargs.get("reduce", args[4] if len(args) > 4 else None)
    rules = {"sum": mixture, "mean": mixture, "amax": move, "amin": move}
    return rules.get(str(reduce), homogeneous)(lrp, function, *args, **kwargs)


def segment_reduce(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A sum or mean in proportion; a maximum or minimum to its winner."""
    reduce = str(args[1] if len(args) > 1 else kwargs.get("reduce"))
    rules = {"sum": mixture, "mean": mixture, "max": move, "min": move}
    return rules[reduce](lrp, function, *args, **kwargs) if reduce in rules else NotImplemented


def alpha_dropout(
    lrp: LRPPass, function: Callable[..., Any], a: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Any:
    """The identity in evaluation mode; dropout that the model forces on hands back in proportion."""
    if not training or not p:
        return a
    made = mixture(lrp, function, move(lrp, torch.clone, a) if inplace else a, p, training)
    return overwrite(lrp, Tensor.copy_, a, made) if inplace else made


def index_put(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values written to, or added at, indexed places: each carries its relevance along."""
    rule = mixture if _accumulates(args, kwargs) else move
    return rule(lrp, function, *args, **kwargs)


def index_put_in_place(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values written to, or added at, indexed places: each carries its relevance along."""
    rule = in_place(mixture) if _accumulates(args, kwargs) else overwrite
    return rule(lrp, function, *args, **kwargs)


def _accumulates(args: Any, kwargs: Any) -> bool:
    return bool(kwargs.get("accumulate", len(args) > 3 and args[3]))


def detach_in_place(lrp: LRPPass, function: Callable[..., Any], x: Tensor) -> Tensor:
    """A constant from here on."""
    return function(x)  # type: ignore[no-any-return]


def multi_head_attention(lrp: LRPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """nn.MultiheadAttention: computed step by step, each step by its own rule."""
    if lrp.gradients:
        return ordinary(lrp, function, *args, **kwargs)
    with Interceptor(LRP_TABLE, lrp, unknown=lrp.unknown, fallback=fallback, kind="lrp"):
        return multi_head_attention_parts(*args, **kwargs)


def embedding(
    lrp: LRPPass, function: Callable[..., Any], indices: Tensor, weight: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """A look-up: the relevance of each token arrives at its vector."""
    if depends(weight):
        return move(lrp, function, indices, weight, *args, **kwargs)
    return constant(function, indices, weight, *args, **kwargs)


def embedding_bag(
    lrp: LRPPass, function: Callable[..., Any], indices: Tensor, weight: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Sums of vectors, in proportion; with weights per vector, half to the vectors and half to the weights."""
    inputs = dependent((indices, weight, *args, *kwargs.values()))
    if not inputs or lrp.gradients:
        return ordinary(lrp, function, indices, weight, *args, **kwargs)
    return in_proportion(lrp, function, (indices, weight, *args), kwargs, parts=[1 / len(inputs)] * len(inputs))


def _table() -> dict[Key, OpRule]:
    groups = _out_of_place()
    return names.joined([*groups, *_in_place(names.joined(groups))])


LRP_TABLE = names.resolve({name: with_out(rule) for name, rule in _table().items()})
