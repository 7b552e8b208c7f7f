"""Torch's functions, grouped by what they do to values.

A rule's table names functions as torch names them; :func:`functions` finds every object that bears the name
(``torch.relu``, ``Tensor.relu`` and ``F.relu`` are three), because each of them may be the one that a model calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import GetSetDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

OpRule = Callable[..., Any]
"""``rule(settings, function, *args, **kwargs)`` does what ``function(*args, **kwargs)`` does, forward; what it does
backward is the rule's own. ``settings`` is whatever the learning rule gave its interceptor."""

Key = str | Callable[..., Any]
"""A function in a table of rules: by its name, every function of that name; or itself."""

WEIGHTED_SUMS = ("linear", "conv1d", "conv2d", "conv3d")
TRANSPOSED_CONVOLUTIONS = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")

NORMALISATIONS = (
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize", "local_response_norm",
)  # fmt: skip

# Each output is a weighted mixture of several inputs: homogeneous of degree one in all that it takes together, so that
# x·∂z/∂x sums to z.
MIXTURES = (
    "add", "__add__", "__radd__", "sub", "subtract", "__sub__", "__rsub__", "rsub",
    "sum", "mean", "cumsum", "nansum", "nanmean", "std", "diff", "gradient", "trace", "sum_to_size",
    "quantile", "nanquantile", "hypot", "fmod", "remainder", "__mod__", "__rmod__",
    "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "interpolate", "upsample", "upsample_bilinear", "upsample_nearest", "fold", "alpha_dropout",
    "feature_alpha_dropout", "index_add", "scatter_add", "index_put", "put",
    "norm", "dist", "cdist", "pdist", "vector_norm", "matrix_norm",
    "eigvals", "eigvalsh", "svdvals",
)  # fmt: skip

# Linear maps between complex numbers, or to or from them.
FOURIER = (
    "fft", "fft2", "fftn", "hfft", "hfft2", "hfftn", "rfft", "rfft2", "rfftn", "ifft", "ifft2", "ifftn", "ihfft",
    "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "stft", "istft", "complex",
)  # fmt: skip

# Mixtures of their first operand, with places to look it up at: all credit is the operand's.
SAMPLERS = ("grid_sample", "grid_sampler_2d", "grid_sampler_3d")

# Sums with a product in them: the sum in proportion, the product by its own rule.
ADDED_PRODUCTS = ("addmm", "addmv", "addbmm", "baddbmm", "addr", "addcmul", "addcdiv", "lerp")

# Products in a wide sense: homogeneous of another degree than one (or of several), so that x·∂z/∂x sums to a multiple
# of z. Each input has its part of that sum.
HOMOGENEOUS = (
    "var", "cov", "prod", "cumprod", "cross", "kron", "vdot", "vecdot", "multi_dot", "matrix_power", "chain_matmul",
    "det", "inv", "inverse", "inv_ex", "pinv", "pinverse", "tensorinv", "cholesky", "cholesky_ex", "cholesky_inverse",
    "matrix_sqrth", "vander", "trapz", "trapezoid", "cumulative_trapezoid", "var_mean", "std_mean",
    "scatter_reduce", "index_reduce", "segment_reduce", "frexp",
)  # fmt: skip

# The forms of A⁻¹B, with the place of B: quotients.
MATRIX_QUOTIENTS = {
    "solve": 1, "solve_ex": 1, "solve_triangular": 1, "lstsq": 1, "tensorsolve": 1, "triangular_solve": 0,
    "cholesky_solve": 0, "lu_solve": 0,
}  # fmt: skip

# Each output is one of the inputs, moved or copied: its value is unchanged.
MOVES = (
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze",
    "permute", "transpose", "t", "swapaxes", "swapdims", "moveaxis", "movedim", "adjoint", "flip", "fliplr", "flipud",
    "roll", "rot90", "contiguous", "clone", "to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu",
    "cuda", "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave", "__getitem__", "index_select",
    "gather", "take", "take_along_dim", "masked_select", "select", "narrow", "diagonal", "diag", "tril", "triu",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "hsplit", "vsplit", "dsplit", "unsafe_chunk",
    "unsafe_split", "cat", "concat", "concatenate",
    "stack", "hstack", "vstack", "row_stack", "dstack", "column_stack", "atleast_1d", "atleast_2d", "atleast_3d",
    "meshgrid", "where", "broadcast_tensors", "block_diag", "combinations", "cartesian_prod", "diag_embed", "diagflat",
    "masked_fill", "masked_scatter", "scatter", "index_copy", "index_fill", "fill", "pad", "constant_pad_nd", "unfold",
    "as_strided", "diagonal_scatter", "select_scatter", "slice_scatter", "as_strided_scatter",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "requires_grad_", "retain_grad", "register_hook", "__iter__", "__reversed__", "nan_to_num",
    "positive", "__pos__", "alias_copy", "as_strided_copy", "diagonal_copy", "expand_copy", "narrow_copy",
    "permute_copy", "split_with_sizes_copy", "squeeze_copy", "t_copy", "transpose_copy", "unbind_copy", "unfold_copy",
    "unsqueeze_copy", "view_copy", "fftshift", "ifftshift", "resolve_conj", "resolve_neg",
)  # fmt: skip

# The same for complex numbers, of which a real one becomes part or the other way round.
COMPLEX_MOVES = (
    "view_as_complex", "view_as_real", "real", "imag", "conj", "conj_physical", "cdouble", "cfloat", "chalf",
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
    "max", "min", "amax", "amin", "aminmax", "maximum", "minimum", "fmax", "fmin", "median", "nanmedian", "mode",
    "topk", "sort", "msort", "kthvalue", "cummax", "cummin",
)  # fmt: skip

# One value in, one value out, with or without a derivative.
ACTIVATIONS = (
    "leaky_relu", "leaky_relu_", "rrelu", "rrelu_", "relu6", "elu", "elu_", "selu", "selu_", "celu", "celu_",
    "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "hardtanh_", "sigmoid", "sigmoid_", "tanh",
    "tanh_", "logsigmoid", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink", "threshold",
    "threshold_", "clamp", "clamp_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_", "clip", "clip_",
    "sign", "sgn", "round", "floor", "ceil", "trunc", "abs", "neg", "__neg__", "square", "sqrt", "rsqrt", "reciprocal",
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "logit", "erf", "erfc", "erfinv", "sin", "cos", "tan",
    "sinh", "cosh", "asin", "acos", "asinh", "acosh", "atan", "atanh", "arcsin", "arccos", "arctan", "arcsinh",
    "arccosh", "arctanh", "absolute", "negative", "fix", "expit", "frac", "sinc", "deg2rad", "rad2deg", "angle",
    "lgamma", "gammaln", "digamma", "psi", "mvlgamma", "multigammaln", "i0", "i0e", "i1", "i1e", "ndtr", "ndtri",
    "log_ndtr", "entr", "erfcx", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0",
    "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1", "spherical_bessel_j0", "airy_ai", "copysign", "renorm",
    "pow", "__pow__", "__rpow__", "float_power", "__rtruediv__", "__rdiv__",
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

SOFTMAXES = ("softmax", "log_softmax", "softmin", "gumbel_softmax")

# A maximum that is soft: the derivatives are each input's part in it, and sum to one.
SOFT_MAXIMA = ("logsumexp", "logcumsumexp", "logaddexp", "logaddexp2")

# Activations of their second operand.
SECOND_OPERAND_ACTIVATIONS = ("polygamma",)

# a·φ(b), a product with an activation within.
PRODUCTS_WITH_LOG = ("xlogy", "xlog1py")

OBJECTIVES = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "linear_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "margin_ranking_loss",
    "hinge_embedding_loss", "cosine_embedding_loss", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    "ctc_loss",
)  # fmt: skip

# Distances between two tensors: written out in other functions.
DISTANCES = ("cosine_similarity", "pairwise_distance")

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
    for name in ("add", "sub", "mul", "div", "truediv", "floordiv", "pow", "and", "or", "xor", "mod",
                 "lshift", "rshift")
)  # fmt: skip


def overwrites(function: Callable[..., Any]) -> bool:
    """Whether a torch function writes its result over its first operand, by its name: ``add_``, but not ``__add__``."""
    name = str(getattr(function, "__name__", ""))
    return name in IN_PLACE_OPERATORS or (name.endswith("_") and not name.endswith("__"))


_PLACES = (torch, Tensor, F, torch._C._nn, torch.special, torch.linalg, torch.fft)


_NEWER = {"matrix_sqrth", "linear_cross_entropy"}
"""Functions that the oldest torch we support does not have."""


def functions(name: str) -> list[Callable[..., Any]]:
    """Every torch function, method and operator called ``name``.

    Raises:
        AttributeError: torch has none, so a misspelt name in a table is noticed at import.
    """
    found = [getattr(place, name) for place in _PLACES if callable(getattr(place, name, None))]
    if not found and name not in _NEWER:
        raise AttributeError(f"torch has no function, method or operator named {name!r}.")
    return found


def _functions_and_attributes(name: str) -> list[Callable[..., Any]]:
    """:func:`functions`, and the function that reads an attribute of tensors called so (``x.T``, ``x.real``)."""
    attribute = getattr(Tensor, name, None)
    if not isinstance(attribute, GetSetDescriptorType):
        return functions(name)
    return [attribute.__get__, *(f for f in (getattr(torch, name, None),) if callable(f))]


def joined(groups: Iterable[tuple[Iterable[Key], OpRule]]) -> dict[Key, OpRule]:
    """A table from groups of functions that have one rule.

    Raises:
        ValueError: a function is in two of them: the second would be the first's end.
    """
    table: dict[Key, OpRule] = {}
    for keys, rule in groups:
        for key in keys:
            if key in table:
                raise ValueError(f"A table of rules has {key} twice.")
            table[key] = rule
    return table


def resolve(
    table: Mapping[str, OpRule] | Mapping[Key, OpRule] | Iterable[tuple[Iterable[Key], OpRule]],
) -> dict[Callable[..., Any] | str, OpRule]:
    """A table keyed by the functions that torch shows an interceptor, and by their names.

    The names are for ``torch.compile``: its tracer shows stand-ins for functions that are written in Python, and these
    bear the name but are not the function.

    Args:
        table: from a function, or its name, to its rule; or groups of functions, as :func:`joined` takes them.
    """
    rules: Mapping[Any, OpRule] = table if isinstance(table, Mapping) else joined(table)
    resolved: dict[Callable[..., Any] | str, OpRule] = {}
    for key, rule in rules.items():
        found = _functions_and_attributes(key) if isinstance(key, str) else [key]
        known = {function.__name__ for function in found if function.__name__ != "__get__"}
        resolved.update(dict.fromkeys((key, *known, *found), rule))
        if key in MOVING_ATTRIBUTES:
            resolved[MOVING_ATTRIBUTES[str(key)]] = rule
    return resolved
