"""The law of each class of operations: what has to arrive at the inputs of a call, from nothing but plain torch.

R is the relevance at the outputs z; for LFP with ε = 0 it is z times the credit there. Each law takes a sample and says
what is handed back to each of its tensors, or only what all of it sums to (where a class has several right ways).
"""

import copy

import torch

from altprop.ops import names
from tests.ops.written_out import WRITTEN_OUT, handed_back

CLASSES = {
    "layer": (*names.WEIGHTED_SUMS, *names.TRANSPOSED_CONVOLUTIONS),
    "normalisation": names.NORMALISATIONS,
    "mixture": (*names.MIXTURES, *names.FOURIER),
    "mixture of the first": names.SAMPLERS,
    "homogeneous": [name for name in names.HOMOGENEOUS if "reduce" not in name],
    "reduction": [name for name in names.HOMOGENEOUS if "reduce" in name],
    "product": (*names.ELEMENTWISE_PRODUCTS, *names.MATRIX_PRODUCTS, "bilinear", "glu", *names.PRODUCTS_WITH_LOG),
    "sum with a product": (*names.ADDED_PRODUCTS, "embedding_bag"),
    "quotient": (*names.QUOTIENTS, *names.MATRIX_QUOTIENTS),
    "move": (*names.MOVES, *names.COMPLEX_MOVES, *names.MOVING_ATTRIBUTES, "embedding"),
    "contest": names.CONTESTS,
    "activation": (*names.ACTIVATIONS, *names.SECOND_OPERAND_ACTIVATIONS, "prelu"),
    "dropout": names.DROPOUTS,
    "softmax": names.SOFTMAXES,
    "soft maximum": names.SOFT_MAXIMA,
    "attention": ("scaled_dot_product_attention", "multi_head_attention_forward"),
    "distance": names.DISTANCES,
    "objective": names.OBJECTIVES,
}

CLASS_OF = {"__get__": "move", "real": "move"} | {
    function.__name__: law
    for law, listed in CLASSES.items()
    for name in listed
    if name not in names.MOVING_ATTRIBUTES
    for function in names.functions(name)
}

_MATRIX_QUOTIENTS = {function.__name__ for name in names.MATRIX_QUOTIENTS for function in names.functions(name)}
_OF_TWO = {"pow": 0, "__pow__": 0, "float_power": 0, "__rpow__": 1, "__rdiv__": 1, "__rtruediv__": 1}
"""Activations of two operands, and the place of the base or dividend, which takes all under LRP."""
CONSERVES = {
    "mixture", "homogeneous", "product", "sum with a product", "quotient", "move", "contest", "activation", "dropout",
    "soft maximum", "layer", "distance", "mixture of the first",
}  # fmt: skip


def class_of(functions):
    """The one class of all the functions, ``"several"`` if there are more, None if one has none."""
    found = {CLASS_OF.get(name) for name in functions}
    if None in found:
        return None
    return found.pop() if len(found) == 1 else "several"


def euler(sample):
    """x·∂z/∂x of each output: what all the tensors together contribute, to first order; by central differences."""
    return _slope(sample, lambda x, step: x * (1 + step))


def row_sums(sample):
    """The sum of each output's derivatives with respect to all entries; by central differences."""
    return _slope(sample, lambda x, step: x + step)


def _slope(sample, moved, step=1e-6):
    ahead, behind = (
        sample.model()(*[moved(x.detach(), h).requires_grad_() for x in sample.tensors]).detach() for h in (step, -step)
    )
    return (ahead - behind) / (2 * step)


def is_homogeneous(sample, degree):
    """Whether x·∂z/∂x is ``degree`` times z; with None, whether it is one multiple of each output at x and at 2 x."""
    here = euler(sample)
    if degree is not None:
        return bool(torch.allclose(here, degree * sample.z, rtol=1e-6, atol=1e-9))
    doubled = copy.copy(sample)
    doubled.tensors = [2 * x for x in sample.tensors]
    vars(doubled).pop("z", None)
    return bool(torch.allclose(here * doubled.z, euler(doubled) * sample.z, rtol=1e-6, atol=1e-9))


WITH_CONSTANTS = {
    "nn.functional.alpha_dropout": "what is dropped gets a constant value",
    "nn.functional.feature_alpha_dropout.with_train": "what is dropped gets a constant value",
    "nn.functional.embedding_bag": "a product where each of the bag's vectors has a weight",
    "nn.functional.grid_sample": "of its first operand alone",
    "grid_sampler_2d": "of its first operand alone",
    "grid_sampler_3d": "of its first operand alone",
}
"""Mixtures with constants in every sample, which keep their share."""
ROUNDED = {"float", "cfloat", "half", "chalf", "bfloat16"}
"""Moves to numbers that are too coarse for differences."""


def expected(law, functions, sample, rule):
    """What has to arrive.

    Args:
        law: the class.
        functions: the functions that are called.
        sample: the call.
        rule: ``"lrp"`` or ``"lfp"``.

    Returns:
        A list of each tensor's relevance (NaN: nothing is said of it), its sum alone, or None if the law says nothing
        of such a call.
    """
    law = _expected(law, functions, sample, rule)
    if not isinstance(law, list) or not sample.z.isnan().any():
        return law
    # Where the output is no number nothing is said of what it was made from.
    none = sample.gradient(torch.where(sample.z.isnan(), float("nan"), 0.0))
    return [torch.where(missing.isnan(), missing, R) for missing, R in zip(none, law, strict=True)]


def _expected(law, functions, sample, rule):
    lrp, function = rule == "lrp", functions[-1]
    ordinary = sample.times_gradient(sample.unit)
    carried = sample.gradient(sample.R) if lrp else ordinary
    if law != "unknown" and (rule, function) in WRITTEN_OUT and len(set(functions)) == 1:
        return handed_back(sample, function, WRITTEN_OUT[rule, function])
    if law == "reduction":
        law = {"sum": "mixture", "mean": "mixture", "prod": "homogeneous"}.get(sample.reduction, "contest")
    if law in ("mixture", "unknown") or function == "pairwise_distance":
        return ordinary
    if law == "mixture of the first":
        return [ordinary[0], *(torch.zeros_like(R) for R in ordinary[1:])] if lrp else ordinary
    if law == "homogeneous":
        e = euler(sample)
        return sample.times_gradient(torch.where(e.abs() > 1e-12, sample.R / e, 0))
    if law in ("move", "contest", "soft maximum"):
        return carried
    if law in ("softmax", "objective", "normalisation") and not lrp:
        return ordinary
    if law == "softmax":
        return _softmax(function, sample)
    if law == "attention":
        return _attention(function, sample, ordinary)
    if law in ("activation", "dropout") and (len(sample.tensors) == 1 or function in _OF_TWO):
        return _passed(sample, lrp, _OF_TWO.get(function, 0))
    if sample.partial and (law in ("layer", "sum with a product") or function == "bilinear"):
        return ordinary  # the rest is constant, and keeps its share
    if len(sample.tensors) == 1 and function in _MATRIX_QUOTIENTS:
        # Outputs that the one operand has no part in (a diagonal of ones, the residuals of lstsq) are constants.
        return float(sample.R[euler(sample).abs() > 1e-6 * sample.z.abs()].sum())
    return float(sample.R.sum()) if law in CONSERVES else None


def _passed(sample, lrp, base=0):
    """What an activation passes, summed where a tensor was broadcast: by LRP to its base, by LFP in equal parts."""
    shape = sample.call(*sample.tensors).shape
    passed = [sample.R.reshape(shape).sum_to_size(x.shape) for x in sample.tensors]
    if lrp and len(passed) > 1:
        return [one * (place == base) for place, one in enumerate(passed)]
    # LFP's credit is R / x, of which nothing is left to be seen where x is zero.
    parts = [R / len(passed) for R in passed]
    return parts if lrp else [torch.where(x != 0, R, 0) for x, R in zip(sample.tensors, parts, strict=True)]


def _attention(function, sample, ordinary):
    """Half to the values, a quarter to queries and keys each; all to the queries if the rest is constant."""
    if sample.partial:
        return ordinary
    if "multi_head" in function or len(sample.tensors) != 3:
        return None
    return [part * one for part, one in zip((0.25, 0.25, 0.5), ordinary, strict=True)]


def _softmax(function, sample):
    """AttnLRP, eq. 13; a logarithm after it passes, and so does a sign before it."""
    if "log" in function:
        return _passed(sample, lrp=True)
    (x,), a, R = sample.tensors, sample.z.reshape(sample.tensors[0].shape), sample.R.reshape(sample.tensors[0].shape)
    dim = sample.softmax_dim()
    return [(-x if "min" in function else x) * (R - a * R.sum(dim, keepdim=True))]


def difference(found, law):
    """How far what arrived is from the law, relative to the largest entry; 0 if the law says nothing."""
    if law is None:
        return 0.0
    if isinstance(law, float):
        total = sum(float(R.sum()) for R in found)
        size = sum(float(R.abs().sum()) for R in found) + abs(law)
        return abs(total - law) / max(size, 1e-30)
    size = max([float(R.nan_to_num(0, 0, 0).abs().max()) for R in law if R.numel()] + [1e-8])
    # Where plain torch has no number there is no law: at 0 · log 0, at the root of zero.
    off = [
        float(torch.where(R.isfinite(), (f - R).abs(), 0).max()) for f, R in zip(found, law, strict=True) if R.numel()
    ]
    return float("nan") if any(o != o for o in off) else max([*off, 0.0]) / size
