"""LFP-ε for JAX: activations whose slope is the secant, and updates in proportion to the weights.

Layer-wise feedback propagation hands each neuron's reward R to what contributed to it, in proportion. In terms of
g = R / a, the reward per unit of activation, that is backpropagation with the slope φ'(z) replaced by the secant
φ(z) / (z + ε·sign z), and an update that is |w| times the weight's gradient. So a network learns by LFP if

    * each activation φ is ``secant(φ)``;
    * a weighted sum that no activation follows, as the last layer, is followed by :func:`apply_deferred_factor`;
    * the optimizer begins with :func:`scale_by_weights`.

Reference:
    Weber et al., "Efficient and Flexible Neural Network Training through Layer-wise Feedback Propagation", TMLR 2025.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array

Activation = Callable[[Array], Array]


def secant(activation: Activation, epsilon: float = 1e-6) -> Activation:
    """An activation that hands credit back by its secant: g_z = g_a · φ(z) / (z + ε·sign z), with sign 0 := 1.

    Args:
        activation: any function of arrays, entry by entry; it need not have a derivative.
        epsilon: of the LFP-ε rule. With 0 no credit passes where z is 0.

    Raises:
        ValueError: ``epsilon`` is negative or not finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> step = secant(lambda z: (z > 0) * 1.0, epsilon=0)
        >>> jax.grad(lambda z: step(z).sum())(jnp.array([-1.0, 2.0])).tolist()
        [-0.0, 0.5]
    """
    if not 0.0 <= epsilon < float("inf"):
        raise ValueError(f"LFP's epsilon must be a finite number >= 0, got {epsilon!r}.")

    @jax.custom_vjp
    def run(z: Array) -> Array:
        return activation(z)

    def forward(z: Array) -> tuple[Array, tuple[Array, Array]]:
        a = activation(z)
        return a, (z, a)

    def backward(saved: tuple[Array, Array], g: Array) -> tuple[Array]:
        z, a = saved
        return (g * a / _denominator(z, epsilon),)

    run.defvjp(forward, backward)
    return run


def apply_deferred_factor(z: Array, epsilon: float = 1e-6) -> Array:
    """``z``, of a weighted sum that no activation follows: credit comes back times z / (z + ε·sign z)."""
    return secant(lambda z: z, epsilon)(z)


def scale_by_weights(minimum_scale: float = 0.0) -> optax.GradientTransformation:
    """Scale each update by max(|w|, minimum_scale): what LFP's updates are. It comes first in ``optax.chain``.

    Args:
        minimum_scale: lets weights at zero move too.

    Raises:
        ValueError: ``minimum_scale`` is negative or not finite; from ``update``: it was not given the parameters.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> optimizer = optax.chain(scale_by_weights(), optax.sgd(1.0))
        >>> w = jnp.array([2.0, -3.0, 0.0])
        >>> optimizer.update(jnp.ones(3), optimizer.init(w), w)[0].tolist()
        [-2.0, -3.0, -0.0]
    """
    if not 0.0 <= minimum_scale < float("inf"):
        raise ValueError(f"LFP's minimum_scale must be a finite number >= 0, got {minimum_scale!r}.")

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        if params is None:
            raise ValueError("scale_by_weights needs the parameters: call optimizer.update(updates, state, params).")
        scaled = jax.tree.map(lambda g, w: g * jnp.maximum(jnp.abs(w), minimum_scale).astype(g.dtype), updates, params)
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _denominator(z: Array, epsilon: float) -> Array:
    """z + ε·sign z; infinite where both are zero, so that no credit passes."""
    if not epsilon:
        return jnp.where(z == 0, jnp.inf, z)
    return z + jnp.where(z < 0, -epsilon, epsilon).astype(z.dtype)
