"""Torch's functions, grouped by what they do to the values that pass through them.

A rule's table names functions as torch names them; :func:`functions` finds every object that bears the name
(``torch.relu``, ``Tensor.relu`` and ``F.relu`` are three), because each of them may be the one that a model calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

OpRule = Callable[..., Any]
"""``rule(settings, function, *args, **kwargs)`` does what ``function(*args, **kwargs)`` does, forward; what it does
backward is the rule's own. ``settings`` is whatever the learning rule gave its interceptor."""

WEIGHTED_SUMS = ("linear", "conv1d", "conv2d", "conv3d")
TRANSPOSED_CONVOLUTIONS = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")

NORMALISATIONS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize")

# Each output is a weighted mixture of several inputs.
MIXTURES = (
    "add", "__add__", "__radd__", "sub", "subtract", "__sub__", "__rsub__", "rsub",
    "sum", "mean", "cumsum", "nansum", "nanmean", "std", "var",
    "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "interpolate", "upsample", "grid_sample", "fold", "lerp", "bilinear", "local_response_norm",
    "embedding_bag", "addmm", "addbmm", "baddbmm", "addmv", "addr", "addcmul", "addcdiv", "alpha_dropout",
    "feature_alpha_dropout", "index_add", "scatter_add", "norm", "dist",
)  # fmt: skip

# Each output is one of the inputs, moved or copied: its value is unchanged.
MOVES = (
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze",
    "permute", "transpose", "t", "swapaxes", "swapdims", "moveaxis", "movedim", "adjoint", "flip", "fliplr", "flipud",
    "roll", "rot90", "contiguous", "clone", "to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu",
    "cuda", "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave", "__getitem__", "index_select",
    "gather", "take", "take_along_dim", "masked_select", "select", "narrow", "diagonal", "diag", "tril", "triu",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "hsplit", "vsplit", "cat", "concat", "concatenate",
    "stack", "hstack", "vstack", "dstack", "column_stack", "atleast_1d", "atleast_2d", "meshgrid", "where",
    "masked_fill", "masked_scatter", "scatter", "pad", "constant_pad_nd", "unfold", "as_strided",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "requires_grad_", "retain_grad", "register_hook", "__iter__", "__reversed__", "nan_to_num",
    "positive", "__pos__",
)  # fmt: skip

# Attributes that are views, and what torch.compile's tracer calls the function that reads them.
MOVING_ATTRIBUTES = {"T": "numpy_T", "mT": "mT", "H": "matrix_H", "mH": "mH", "real": "real"}

# Each output is the input that won: the winner's value passes unchanged. ReLU is a contest against zero.
CONTESTS = (
    "relu", "relu_",
    "max_pool1d", "max_pool2d", "max_pool3d",
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices",
    "fractional_max_pool2d", "fractional_max_pool3d",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d_with_indices",
    "max", "min", "amax", "amin", "maximum", "minimum", "fmax", "fmin", "median", "nanmedian", "topk", "sort",
    "kthvalue",
)  # fmt: skip

# One value in, one value out, with or without a derivative.
ACTIVATIONS = (
    "leaky_relu", "leaky_relu_", "rrelu", "rrelu_", "relu6", "elu", "elu_", "selu", "selu_", "celu", "celu_",
    "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "hardtanh_", "sigmoid", "sigmoid_", "tanh",
    "tanh_", "logsigmoid", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink", "threshold",
    "threshold_", "clamp", "clamp_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_", "clip", "clip_",
    "sign", "sgn", "round", "floor", "ceil", "trunc", "abs", "neg", "__neg__", "square", "sqrt", "rsqrt", "reciprocal",
    "exp", "exp2", "expm1", "log", "log1p", "erf", "sin", "cos", "tan", "sinh", "cosh", "asinh", "atan",
    "pow", "__pow__", "__rpow__", "__rtruediv__", "__rdiv__",
)  # fmt: skip

DROPOUTS = ("dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")

ELEMENTWISE_PRODUCTS = ("mul", "multiply", "__mul__", "__rmul__")
QUOTIENTS = ("div", "divide", "true_divide", "__truediv__")
MATRIX_PRODUCTS = (
    "matmul",
    "__matmul__",
    "__rmatmul__",
    "mm",
    "bmm",
    "mv",
    "dot",
    "inner",
    "outer",
    "einsum",
    "tensordot",
)

SOFTMAXES = ("softmax", "log_softmax", "softmin", "gumbel_softmax", "logsumexp")

OBJECTIVES = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "margin_ranking_loss",
    "hinge_embedding_loss", "cosine_embedding_loss", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    "ctc_loss", "cosine_similarity", "pairwise_distance",
)  # fmt: skip

# In-place arithmetic, and the function that does the same out of place.
IN_PLACE_MIXTURES = {"add_": "add", "__iadd__": "add", "sub_": "sub", "subtract_": "sub", "__isub__": "sub"}
IN_PLACE_PRODUCTS = {"mul_": "mul", "multiply_": "mul", "__imul__": "mul"}
IN_PLACE_QUOTIENTS = {"div_": "div", "divide_": "div", "__itruediv__": "div", "__idiv__": "div"}

# Part of a tensor is replaced by other values.
OVERWRITES = (
    "__setitem__", "copy_", "masked_fill_", "masked_scatter_", "index_put_", "index_copy_", "index_fill_", "scatter_",
    "fill_", "zero_",
)  # fmt: skip

# The operators of Python that work in place.
IN_PLACE_OPERATORS = frozenset(
    f"__i{name}__"
    for name in ("add", "sub", "mul", "div", "truediv", "floordiv", "pow", "matmul", "and", "or", "xor", "mod",
                 "lshift", "rshift")
)  # fmt: skip


def overwrites(function: Callable[..., Any]) -> bool:
    """Whether a torch function writes its result over its first operand, by its name: ``add_``, but not ``__add__``."""
    name = str(getattr(function, "__name__", ""))
    return name in IN_PLACE_OPERATORS or (name.endswith("_") and not name.endswith("__"))


_PLACES = (torch, Tensor, F, torch._C._nn, torch.special, torch.linalg)


def functions(name: str) -> list[Callable[..., Any]]:
    """Every torch function, method and operator called ``name``.

    Raises:
        AttributeError: torch has none, so a misspelt name in a table is noticed at import.
    """
    found = [getattr(place, name) for place in _PLACES if callable(getattr(place, name, None))]
    if not found:
        raise AttributeError(f"torch has no function, method or operator named {name!r}.")
    return found


def resolve(table: Mapping[str | Callable[..., Any], OpRule]) -> dict[Callable[..., Any] | str, OpRule]:
    """A table keyed by the functions that torch shows an interceptor, and by their names.

    The names are for ``torch.compile``: its tracer shows stand-ins for functions that are written in Python, and these
    bear the name but are not the function.
    """
    resolved: dict[Callable[..., Any] | str, OpRule] = {}
    for key, rule in table.items():
        if key in MOVING_ATTRIBUTES:
            found = [getattr(Tensor, str(key)).__get__]
            resolved[MOVING_ATTRIBUTES[str(key)]] = rule
        else:
            found = functions(key) if isinstance(key, str) else [key]
            resolved.update(dict.fromkeys((function.__name__ for function in found), rule))
        resolved.update(dict.fromkeys((key, *found), rule))
    return resolved
