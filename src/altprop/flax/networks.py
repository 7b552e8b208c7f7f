"""Fully connected networks by the name of the rule that they learn by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

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
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "step": lambda z: (z > 0).astype(z.dtype),
    "sign": lambda z: jnp.where(z < 0, -1, 1).astype(z.dtype),
}
"""The activations by name, equal to torch's."""

_LAYERS: dict[str, Any] = {"fa": FADense, "kp": KPDense, "sign-symmetric": SignSymmetricDense}
_DIRECT: dict[str, Any] = {"dfa": DFANetwork, "drtp": DRTPNetwork}

RULES: dict[str, tuple[str, ...]] = {
    "backprop": (),
    "fa": ("init",),
    "kp": ("init",),
    "sign-symmetric": ("mode", "init"),
    "dfa": ("signal", "init", "normalize"),
    "drtp": ("init", "normalize"),
    "lfp": ("epsilon", "minimum_scale"),
    "shallow": (),
}
"""The rules by name, with the arguments that they can have."""


def make_network(
    rule: str,
    sizes: Sequence[int],
    activation: str = "relu",
    *,
    rngs: nnx.Rngs,
    arguments: Mapping[str, Any] | None = None,
) -> nnx.Module:
    """A fully connected network that learns by a rule, whatever optimizer it is given.

    (But LFP's updates are scaled by the weights: see :func:`transform_for`.)

    Args:
        rule: one of :data:`RULES`.
        sizes: of the inputs, of each hidden layer, and of the outputs.
        activation: of the hidden layers, of :data:`ACTIVATIONS`.
        rngs: the weights and the feedback weights are drawn from it.
        arguments: of the rule, named as those of the torch rule.

    Raises:
        ValueError: a name is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> network = make_network("dfa", (4, 8, 3), "tanh", rngs=nnx.Rngs(0))
        >>> network(jnp.ones((2, 4))).shape
        (2, 3)
    """
    given = dict(arguments or {})
    _check("rule", rule, RULES)
    _check("activation", activation, ACTIVATIONS)
    for name in given:
        _check(f"argument of {rule}", name, RULES[rule])
    function, epsilon = ACTIVATIONS[activation], {name: value for name, value in given.items() if name == "epsilon"}
    function = secant(function, **epsilon) if rule == "lfp" else function
    layers = [_layer(rule, inputs, outputs, given, rngs) for inputs, outputs in pairwise(sizes)]
    hidden = [nnx.Sequential(layer, function) for layer in layers[:-1]]
    if rule in _DIRECT and hidden:
        example = jnp.zeros((1, sizes[0]))
        network: nnx.Module = _DIRECT[rule](*hidden, layers[-1], example=example, rngs=rngs, **given)
        return network
    if rule == "shallow" and hidden:
        return ShallowNetwork(*hidden, layers[-1])
    end = [partial(apply_deferred_factor, **epsilon)] if rule == "lfp" else []
    return nnx.Sequential(*hidden, layers[-1], *end)


def _layer(rule: str, inputs: int, outputs: int, arguments: Mapping[str, Any], rngs: nnx.Rngs) -> Any:
    if rule not in _LAYERS:
        return nnx.Linear(inputs, outputs, rngs=rngs)
    named = {"feedback_init" if name == "init" else name: value for name, value in arguments.items()}
    return _LAYERS[rule](inputs, outputs, rngs=rngs, **{name: one for name, one in named.items() if one is not None})


def transform_for(rule: str, arguments: Mapping[str, Any] | None = None) -> optax.GradientTransformation:
    """The optax transform that comes before the optimizer: LFP's scaling by the weights, or nothing."""
    return scale_by_weights((arguments or {}).get("minimum_scale", 0.0)) if rule == "lfp" else optax.identity()


def dense_layers(network: Any) -> list[nnx.Linear]:
    """The layers of such a network, in order."""
    found = [(path, module) for path, module in nnx.iter_modules(network) if isinstance(module, nnx.Linear)]
    # They are numbered by where they are in the lists of blocks.
    return [module for _, module in sorted(found, key=lambda item: [part for part in item[0] if isinstance(part, int)])]


def _check(kind: str, name: str, known: Any) -> None:
    if name not in known:
        raise ValueError(f"There is no {kind} {name!r}. Known: {', '.join(known)}.")
