"""Fully connected networks by the name of the rule that they learn by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from altprop.flax.initializers import Initializer, feedback_initializer
from altprop.flax.lfp import apply_deferred_factor, scale_by_weights, secant
from altprop.flax.nnx import (
    DFANetwork,
    DRTPNetwork,
    FADense,
    KPDense,
    ShallowNetwork,
    SignSymmetricDense,
)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky-relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "step": lambda z: (z > 0).astype(z.dtype),
    "linear": lambda z: z,
}
"""The activations by name."""

_LAYERS: dict[str, Any] = {"fa": FADense, "kp": KPDense, "sign-symmetric": SignSymmetricDense}
_DIRECT: dict[str, Any] = {"dfa": DFANetwork, "drtp": DRTPNetwork}

RULES = ("backprop", *_LAYERS, *_DIRECT, "lfp", "shallow")
"""The rules by name."""


def make_network(
    rule: str,
    sizes: Sequence[int],
    activations: Sequence[str],
    *,
    rngs: nnx.Rngs,
    kernel_init: str | Initializer = "lecun_normal",
    feedback_init: str | Initializer | None = None,
) -> nnx.Module:
    """A fully connected network that learns by a rule, whatever optimizer it is given.

    (But LFP's updates are scaled by the weights: see :func:`transform_for`.)

    Args:
        rule: one of :data:`RULES`.
        sizes: of the inputs, of each hidden layer, and of the outputs.
        activations: of each hidden layer, of :data:`ACTIVATIONS`.
        rngs: the weights and the feedback weights are drawn from it.
        kernel_init: how the weights are drawn, from :data:`~altprop.flax.INITS` or an initializer. Biases
            are uniform within ±1/√inputs, as torch has them: LFP cannot move what starts at zero.
        feedback_init: how the feedback weights are drawn; unset: the rule's default.

    Raises:
        ValueError: a name is unknown, or there is not one activation for each hidden layer.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> network = make_network("dfa", (4, 8, 3), ["tanh"], rngs=nnx.Rngs(0))
        >>> network(jnp.ones((2, 4))).shape
        (2, 3)
    """
    _check("rule", rule, RULES)
    for name in activations:
        _check("activation", name, ACTIVATIONS)
    if len(activations) != len(sizes) - 2:
        raise ValueError(f"{len(sizes) - 2} hidden layers need as many activations, got {len(activations)}.")
    own = {} if feedback_init is None else {"feedback_init": feedback_init}
    given = own if rule in _LAYERS else {}
    layers = [
        _LAYERS.get(rule, nnx.Linear)(
            i, o, kernel_init=feedback_initializer(kernel_init), bias_init=_small(i), rngs=rngs, **given
        )
        for i, o in pairwise(sizes)
    ]
    functions = [ACTIVATIONS[name] for name in activations]
    if rule == "lfp":
        functions = [secant(function) for function in functions]
    hidden = [nnx.Sequential(layer, function) for layer, function in zip(layers[:-1], functions, strict=True)]
    if rule in _DIRECT and hidden:
        drawn = {} if feedback_init is None else {"init": feedback_init}
        example = jnp.zeros((1, sizes[0]))
        network: nnx.Module = _DIRECT[rule](*hidden, layers[-1], example=example, rngs=rngs, **drawn)
        return network
    if rule == "shallow" and hidden:
        return ShallowNetwork(*hidden, layers[-1])
    return nnx.Sequential(*hidden, layers[-1], *([apply_deferred_factor] if rule == "lfp" else []))


def transform_for(rule: str) -> optax.GradientTransformation:
    """The optax transform that comes before the optimizer: LFP's scaling by the weights, or nothing."""
    return scale_by_weights() if rule == "lfp" else optax.identity()


def _small(inputs: int) -> Initializer:
    bound = 1 / math.sqrt(inputs)
    return lambda key, shape, dtype=jnp.float32, **kwargs: jax.random.uniform(key, shape, dtype, -bound, bound)


def _check(kind: str, name: str, known: Any) -> None:
    if name not in known:
        raise ValueError(f"There is no {kind} {name!r}. Known: {', '.join(known)}.")
