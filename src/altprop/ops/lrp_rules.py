"""How relevance flows back through each torch function: the table, then the rules it names.

A rule is ``rule(run, function, *arguments)``. It computes what ``function(*arguments)`` computes, and puts a node of
:mod:`altprop.ops.relevance` on the result. Tensors that do not depend on the model's input, weights above all, take
part as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from altprop.nn.activations import sign, step
from altprop.ops import names
from altprop.ops.interceptor import Interceptor
from altprop.ops.lrp_activations import MAX_POOLS, activation, dropout, max_pool, relu
from altprop.ops.lrp_common import constant, fallback, mixture, move, ordinary
from altprop.ops.lrp_in_place import add_in_place, in_place, overwrite, with_out
from altprop.ops.lrp_layers import batch_norm, convolved, group_norm, instance_norm, layer_norm, linear
from altprop.ops.lrp_products import (
    add,
    added_product,
    attention,
    elementwise_product,
    gated_linear_unit,
    matrix_product,
    quotient,
    softmax,
)
from altprop.ops.lrp_run import Run
from altprop.ops.multi_head_attention import multi_head_attention_parts
from altprop.ops.names import OpRule


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
        **dict.fromkeys((f"{name}_" for name in names.ACTIVATIONS if hasattr(Tensor, f"{name}_")), activation),
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
        **dict.fromkeys(MAX_POOLS, max_pool),
        **dict.fromkeys(names.DROPOUTS, dropout),
        **dict.fromkeys(names.OVERWRITES, overwrite),
        # mixtures: in proportion to contributions
        **dict.fromkeys(names.MIXTURES, mixture),
        **dict.fromkeys((*names.SAMPLERS, "var", "embedding_bag", "addr", "addcmul", "addcdiv", "lerp"), mixture),
        "bilinear": matrix_product,
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
        **{name: in_place(twin, mixture) for name, twin in names.IN_PLACE_MIXTURES.items()},
        **dict.fromkeys(("add_", "__iadd__"), add_in_place),
        **{name: in_place(twin, elementwise_product) for name, twin in names.IN_PLACE_PRODUCTS.items()},
        **{name: in_place(twin, quotient) for name, twin in names.IN_PLACE_QUOTIENTS.items()},
        **dict.fromkeys((*names.OBJECTIVES, *names.DISTANCES), ordinary),
    }


def multi_head_attention(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``nn.MultiheadAttention`` reaches an interceptor as one call: compute its parts, each by its own rule."""
    if run.gradients:
        return ordinary(run, function, *args, **kwargs)
    with Interceptor(LRP_TABLE, run, unknown=run.unknown, fallback=fallback):
        return multi_head_attention_parts(*args, **kwargs)


def embedding(run: Run, function: Callable[..., Any], indices: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The relevance of tokens is asked for at their vectors."""
    vectors = constant(function, indices, *args, **kwargs)
    return run.embed(indices, vectors)


LRP_TABLE = names.resolve({name: with_out(rule) for name, rule in _table().items()})
