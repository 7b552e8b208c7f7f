"""How relevance flows back through each torch function: the table, then the rules it names.

A rule is ``rule(run, function, *arguments)``. It computes what ``function(*arguments)`` computes, and puts a node of
:mod:`altprop.ops.relevance` on the result. Tensors that do not depend on the model's input, weights above all, take
part as constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from altprop.nn.activations import sign, step
from altprop.ops import names
from altprop.ops.interceptor import Interceptor
from altprop.ops.lrp_activations import MAX_POOLS, activation, dropout, max_pool, normalisation, relu
from altprop.ops.lrp_common import constant, dependent, depends, homogeneous, in_proportion, mixture, move, ordinary
from altprop.ops.lrp_in_place import (
    RESHAPES_IN_PLACE,
    add_in_place,
    fallback,
    in_place,
    overwrite,
    reshaped_in_place,
    twin_of,
    with_out,
)
from altprop.ops.lrp_layers import batch_norm, convolved, group_norm, instance_norm, layer_norm, linear
from altprop.ops.lrp_products import (
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
)
from altprop.ops.lrp_run import Run
from altprop.ops.lrp_written_out import (
    cosine_similarity,
    cross_entropy,
    gated_linear_unit,
    huber_loss,
    kl_div,
    l1_loss,
    lerp,
    mse_loss,
    product_with_log,
    product_with_log1p,
    smooth_l1_loss,
    softmin,
)
from altprop.ops.multi_head_attention import multi_head_attention_parts
from altprop.ops.names import OpRule

Key = str | Callable[..., Any]


def _out_of_place() -> dict[Key, OpRule]:
    """Every function that works out of place. No key twice: :func:`altprop.ops.names.merged` sees to that."""
    return names.merged(
        # z = W x + b: the rule of the layer
        {"linear": linear},
        dict.fromkeys(("conv1d", "conv2d", "conv3d", *names.TRANSPOSED_CONVOLUTIONS), convolved),
        # sums with a product in them: a linear layer where one factor is a weight
        dict.fromkeys(("addmm", "addbmm", "baddbmm", "addmv"), added_product),
        {"addr": product_added, "addcmul": product_added, "addcdiv": quotient_added, "lerp": lerp},
        # activations
        dict.fromkeys(_but(names.ACTIVATIONS, "renorm"), activation),
        dict.fromkeys((step, sign, "prelu", "log_softmax", "renorm"), activation),
        {"relu": relu, "relu_": relu, "glu": gated_linear_unit},
        dict.fromkeys(names.SECOND_OPERAND_ACTIVATIONS, second_operand_activation),
        # values that only move; the winner of a contest takes all
        dict.fromkeys(names.MOVES, move),
        dict.fromkeys(names.COMPLEX_MOVES, move),
        dict.fromkeys(_but(names.MOVING_ATTRIBUTES, *names.COMPLEX_MOVES), move),
        dict.fromkeys(_but(names.CONTESTS, "relu", "relu_", *MAX_POOLS), move),
        dict.fromkeys(MAX_POOLS, max_pool),
        dict.fromkeys(names.DROPOUTS, dropout),
        # mixtures: in proportion to contributions
        dict.fromkeys(_but(names.MIXTURES, "add", "__add__", "__radd__", "index_put", *_ALPHA_DROPOUTS), mixture),
        dict.fromkeys(_ALPHA_DROPOUTS, alpha_dropout),
        dict.fromkeys(names.FOURIER, mixture),
        dict.fromkeys(names.SAMPLERS, sampler),
        dict.fromkeys(("add", "__add__", "__radd__"), add),
        {"index_put": index_put, "embedding_bag": embedding_bag},
        # homogeneous of another degree
        dict.fromkeys(_but(names.HOMOGENEOUS, "scatter_reduce", "segment_reduce"), homogeneous),
        {"scatter_reduce": scatter_reduce, "segment_reduce": segment_reduce},
        # normalisations
        {
            "batch_norm": batch_norm,
            "layer_norm": layer_norm,
            "group_norm": group_norm,
            "instance_norm": instance_norm,
            **dict.fromkeys(("rms_norm", "normalize", "local_response_norm"), normalisation),
        },
        # products of two activations
        dict.fromkeys(names.ELEMENTWISE_PRODUCTS, elementwise_product),
        dict.fromkeys(names.QUOTIENTS, quotient),
        {name: matrix_quotient(place) for name, place in names.MATRIX_QUOTIENTS.items() if name != "triangular_solve"},
        dict.fromkeys(names.MATRIX_PRODUCTS, matrix_product),
        {"bilinear": bilinear, "xlogy": product_with_log, "xlog1py": product_with_log1p},
        {"softmax": softmax, "softmin": softmin},
        dict.fromkeys(names.SOFT_MAXIMA, ordinary),
        {"scaled_dot_product_attention": attention, "multi_head_attention_forward": multi_head_attention},
        {"embedding": embedding},
        # distances and losses, which are functions like any other
        {"cosine_similarity": cosine_similarity, "pairwise_distance": mixture, "nll_loss": mixture},
        {"mse_loss": mse_loss, "l1_loss": l1_loss, "smooth_l1_loss": smooth_l1_loss, "huber_loss": huber_loss},
        {"cross_entropy": cross_entropy, "kl_div": kl_div},
    )


def _in_place(table: Mapping[Key, OpRule]) -> dict[Key, OpRule]:
    """Every function that works in place, by the rule of its twin."""
    own: dict[Key, OpRule] = names.merged(
        dict.fromkeys(("add_", "__iadd__"), add_in_place),
        # these work in place by themselves
        dict.fromkeys(_with_in_place_forms(names.ACTIVATIONS), activation),
        {"__ipow__": activation},
        dict.fromkeys(RESHAPES_IN_PLACE, reshaped_in_place),
        dict.fromkeys(_but(names.OVERWRITES, "index_put_"), overwrite),
        dict.fromkeys(_RANDOM, overwrite),
        {"index_put_": index_put_in_place, "detach_": detach_in_place},
    )
    taken = {*own, *table}
    found: dict[Key, OpRule] = {}
    for name in (*_in_place_names(), *names.IN_PLACE_OPERATORS):
        if name not in taken and hasattr(Tensor, name):
            twin = twin_of(getattr(Tensor, name))
            rule = None if twin is None else table.get(twin.__name__)
            if rule is not None:
                found[name] = in_place(rule)
    return names.merged(own, found)


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


def second_operand_activation(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """φ(n, z), or z.φ(n): relevance passes unchanged."""
    return activation(run, function, *args, **kwargs)


def sampler(run: Run, function: Callable[..., Any], x: Tensor, grid: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Values of x between its entries: in proportion to them; the places to look are constants."""
    if run.gradients or not depends(x):
        return ordinary(run, function, x, grid, *args, **kwargs)
    return in_proportion(run, function, (x, grid.detach(), *args), kwargs)


def scatter_reduce(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A sum or mean in proportion; the winner of a contest takes all; a product shares."""
    reduce = kwargs.get("reduce", args[4] if len(args) > 4 else None)
    rules = {"sum": mixture, "mean": mixture, "amax": move, "amin": move}
    return rules.get(str(reduce), homogeneous)(run, function, *args, **kwargs)


def segment_reduce(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """As :func:`scatter_reduce`, but for products."""
    reduce = str(args[1] if len(args) > 1 else kwargs.get("reduce"))
    rules = {"sum": mixture, "mean": mixture, "max": move, "min": move}
    return rules[reduce](run, function, *args, **kwargs) if reduce in rules else NotImplemented


def alpha_dropout(
    run: Run, function: Callable[..., Any], a: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Any:
    """In evaluation mode nothing happens; a dropout of the model's own shares in proportion."""
    if not training or not p:
        return a
    made = mixture(run, function, a, p, training)
    return overwrite(run, Tensor.copy_, a, made) if inplace else made


def index_put(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Values that are moved to places, or added to what is there."""
    rule = mixture if _accumulates(args, kwargs) else move
    return rule(run, function, *args, **kwargs)


def index_put_in_place(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """As :func:`index_put`."""
    rule = in_place(mixture) if _accumulates(args, kwargs) else overwrite
    return rule(run, function, *args, **kwargs)


def _accumulates(args: Any, kwargs: Any) -> bool:
    return bool(kwargs.get("accumulate", len(args) > 3 and args[3]))


def detach_in_place(run: Run, function: Callable[..., Any], x: Tensor) -> Tensor:
    """From here on a constant."""
    return function(x)  # type: ignore[no-any-return]


def multi_head_attention(run: Run, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``nn.MultiheadAttention`` reaches an interceptor as one call: compute its parts, each by its own rule."""
    if run.gradients:
        return ordinary(run, function, *args, **kwargs)
    with Interceptor(LRP_TABLE, run, unknown=run.unknown, fallback=fallback):
        return multi_head_attention_parts(*args, **kwargs)


def embedding(
    run: Run, function: Callable[..., Any], indices: Tensor, weight: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """The relevance of tokens is asked for at their vectors."""
    if depends(weight):
        return move(run, function, indices, weight, *args, **kwargs)
    vectors = constant(function, indices, weight, *args, **kwargs)
    return run.embed(indices, vectors)


def embedding_bag(
    run: Run, function: Callable[..., Any], indices: Tensor, weight: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Sums of vectors: in proportion; half of a product with weights for each to the two."""
    inputs = dependent((weight, *args, *kwargs.values()))
    if not inputs or run.gradients:
        return ordinary(run, function, indices, weight, *args, **kwargs)
    return in_proportion(run, function, (indices, weight, *args), kwargs, parts=[1 / len(inputs)] * len(inputs))


def _table() -> dict[Key, OpRule]:
    table = _out_of_place()
    return names.merged(table, _in_place(table))


LRP_TABLE = names.resolve({name: with_out(rule) for name, rule in _table().items()})
