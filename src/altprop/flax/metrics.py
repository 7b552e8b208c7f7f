"""How a rule's updates compare with gradients, and feedback weights with forward weights: pure functions of pytrees.

Trees are nested dicts of arrays, as Flax's parameters (of NNX: ``nnx.to_pure_dict(nnx.state(model, nnx.Param))``). A
layer is what is in the same innermost dict, named by its path joined with dots. Sums are taken in float32 or wider. A
cosine is 0 if one of the vectors is zero, and nan if both are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Tree = Mapping[str, Any]
FEEDBACK = "feedback"
"""What feedback weights of a layer are called."""


class Scores(NamedTuple):
    """One measure of a network.

    Attributes:
        total: over all parameters together, as one long vector.
        biases: over all biases together; nan if there are none.
        layers: by layer, all of its parameters together.
    """

    total: Array
    biases: Array
    layers: dict[str, Array]


class Comparison(NamedTuple):
    """A rule's updates against gradients.

    Attributes:
        cosine: of the angle between them.
        norm_ratio: |update| / |gradient|.
        sparsity: the fraction of the update's entries that are zero.
    """

    cosine: Scores
    norm_ratio: Scores
    sparsity: Scores


def compare(updates: Tree, gradients: Tree) -> Comparison:
    """Compare a rule's updates with the gradients of backprop.

    Feedback weights, which only one of the two may have, are left out.

    Args:
        updates: by the rule; what the optimizer would be given.
        gradients: by backprop, of the same parameters.

    Raises:
        ValueError: a parameter is in one of the two alone, or has different shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> g = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
        >>> u = {"dense": {"kernel": jnp.ones((2, 2)), "bias": -jnp.ones(2)}}
        >>> found = compare(u, g)
        >>> round(float(found.cosine.layers["dense"]), 4), float(found.cosine.biases), float(found.norm_ratio.total)
        (0.3333, -1.0, 1.0)
    """
    ours, theirs = _leaves(updates), _leaves(gradients)
    if ours.keys() != theirs.keys():
        raise ValueError(f"These parameters are in one of the two trees alone: {sorted(ours.keys() ^ theirs.keys())}.")
    sums = {name: _sums(name, ours[name], theirs[name]) for name in ours}
    return Comparison(_scores(sums, _cosine), _scores(sums, _ratio), _scores(sums, _sparsity))


def weight_alignment(weights: Tree, feedback: Tree) -> Scores:
    """The cosine between forward and feedback weights, which rises as the two align.

    Args:
        weights: with kernels.
        feedback: of the same structure, for the layers that have feedback weights: an array per layer, or a dict that
            holds one.

    Raises:
        ValueError: a layer of ``feedback`` is not in ``weights``.
    """
    kernels = {_layer(name): leaf for name, leaf in _leaves(weights).items() if _last(name) == "kernel"}
    pairs = {}
    for name, leaf in _flat(feedback).items():
        layer = next((one for one in (name, _layer(name)) if one in kernels), None)
        if layer is None:
            raise ValueError(f"The feedback weights {name!r} belong to no layer of: {', '.join(kernels)}.")
        pairs[f"{layer}.kernel"] = _sums(layer, leaf, kernels[layer])
    return _scores(pairs, _cosine)


def average(measure: Callable[..., Any], batches: Iterable[Any], count: int) -> Any:
    """The mean of what ``measure(*batch)`` gives, over the first ``count`` batches; undefined values are left out.

    Raises:
        ValueError: there is no batch.
    """
    found = [measure(*batch) for _, batch in zip(range(count), batches, strict=False)]
    if not found:
        raise ValueError("There is no batch to average over.")
    return jax.tree.map(lambda *values: jnp.nanmean(jnp.stack(values)), *found)


def _flat(tree: Tree) -> dict[str, Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _leaves(tree: Tree) -> dict[str, Array]:
    return {name: leaf for name, leaf in _flat(tree).items() if not _last(name).startswith(FEEDBACK)}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _sums(name: str, a: Array, b: Array) -> Array:
    """Σ a b, Σ a², Σ b², the number of zeros in a, and of all entries."""
    if a.shape != b.shape:
        raise ValueError(f"{name} has the shapes {a.shape} and {b.shape}.")
    wide = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    a, b = a.astype(wide).ravel(), b.astype(wide).ravel()
    return jnp.stack([a @ b, a @ a, b @ b, (a == 0).sum(), jnp.asarray(a.size, a.dtype)])


def _scores(sums: dict[str, Array], measure: Callable[[Array], Array]) -> Scores:
    nothing = jnp.zeros(5)
    layers: dict[str, Array] = {}
    for name, one in sums.items():
        layers[_layer(name)] = layers.get(_layer(name), nothing) + one
    biases = [one for name, one in sums.items() if _last(name) == "bias"]
    return Scores(
        measure(sum(sums.values(), nothing)),
        measure(sum(biases, nothing)),
        {layer: measure(one) for layer, one in layers.items()},
    )


def _cosine(sums: Array) -> Array:
    inner, a, b, *_ = sums
    both = jnp.where((a == 0) & (b == 0), jnp.nan, 0.0)
    return jnp.where((a == 0) | (b == 0), both, inner / jnp.sqrt(jnp.where((a == 0) | (b == 0), 1.0, a * b)))


def _ratio(sums: Array) -> Array:
    _, a, b, *_ = sums
    return jnp.sqrt(a / b)


def _sparsity(sums: Array) -> Array:
    return sums[3] / sums[4]
