"""The law of each class of operations: what has to arrive at the inputs of a call, from nothing but plain torch.

R is the relevance at the outputs z; for LFP with ε = 0 it is z times the credit there. Each law takes a sample and says
what is handed back to each of its tensors, or only what all of it sums to (where a class has several right ways).
"""

import copy

import torch

from altprop.ops import names

CLASSES = {
    "layer": (*names.WEIGHTED_SUMS, *names.TRANSPOSED_CONVOLUTIONS),
    "normalisation": names.NORMALISATIONS,
    "mixture": (*names.MIXTURES, *names.FOURIER),
    "mixture of the first": names.SAMPLERS,
    "homogeneous": names.HOMOGENEOUS,
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

CLASS_OF = {
    function.__name__: law
    for law, listed in CLASSES.items()
    for name in listed
    if name not in names.MOVING_ATTRIBUTES
    for function in names.functions(name)
}

_MATRIX_QUOTIENTS = {function.__name__ for name in names.MATRIX_QUOTIENTS for function in names.functions(name)}

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
        A list of each tensor's relevance, its sum alone, or None if the law says nothing of such a call.
    """
    if bool(sample.z.isnan().any()):
        return None  # where plain torch has no number
    lrp = rule == "lrp"
    ordinary = sample.times_gradient(sample.unit)
    carried = sample.gradient(sample.R) if lrp else ordinary
    if law in ("mixture", "unknown") or (law == "mixture of the first" and not lrp):
        return ordinary
    if law == "mixture of the first":
        return [ordinary[0], *(torch.zeros_like(R) for R in ordinary[1:])]
    if lrp and functions[-1] == "segment_reduce":
        return None  # an initial value keeps its share
    if lrp and sample.partial and functions[-1] == "scatter_reduce":
        return None  # a sum, of which the rest keeps its share
    if law == "homogeneous":
        e = euler(sample)
        return sample.times_gradient(torch.where(e.abs() > 1e-12, sample.R / e, 0))
    if law in ("move", "contest", "soft maximum"):
        return carried
    if law in ("softmax", "objective") and not lrp:
        return ordinary
    if law == "softmax":
        return _softmax(functions[-1], sample)
    if law == "attention" and len(sample.tensors) == 3 and "multi_head" not in functions[-1]:
        return [part * one for part, one in zip((0.25, 0.25, 0.5), ordinary, strict=True)]
    if law in ("activation", "dropout") and len(sample.tensors) == 1:
        (x,) = sample.tensors
        if x.numel() != sample.z.numel():
            return None
        # LFP's credit is R / x, of which nothing is left to be seen where x is zero.
        return [sample.R.reshape(x.shape) if lrp else torch.where(x != 0, sample.R.reshape(x.shape), 0)]
    if sample.partial and (law in ("layer", "sum with a product") or functions[-1] == "bilinear"):
        return ordinary  # the rest is constant, and keeps its share
    if len(sample.tensors) == 1 and functions[-1] in _MATRIX_QUOTIENTS:
        # Outputs that the one operand has no part in (a diagonal of ones, say) are constants.
        return float(sample.R[euler(sample).abs() > 1e-9].sum())
    if sample.partial and law == "distance":
        return None
    return float(sample.R.sum()) if law in CONSERVES else None


def _softmax(function, sample):
    """AttnLRP, eq. 13; a logarithm after it passes."""
    if "log" in function or "min" in function:
        return None
    (x,), a, R = sample.tensors, sample.z.reshape(sample.tensors[0].shape), sample.R.reshape(sample.tensors[0].shape)
    dim = sample.softmax_dim()
    return [x * (R - a * R.sum(dim, keepdim=True))]


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
