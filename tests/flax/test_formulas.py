"""The published formulas for dense networks, as loops over samples and layers in numpy."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from altprop import flax as rules

SIZES = (6, 8, 7, 3)


def draw(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


W = [draw(n, shape) for n, shape in enumerate(pairwise(SIZES))]
B = [draw(10 + n, w.shape) for n, w in enumerate(W)]
DIRECT = {f"layer{n}": draw(20 + n, (SIZES[-1], SIZES[n])) for n in (1, 2)}
X, Y = draw(30, (5, 6)), draw(31, (5, 3))


def formula(rule):
    """The gradient of ½|output − y|² by the rule, for tanh layers: summed over samples."""
    updates = [np.zeros_like(w) for w in W]
    for x, y in zip(X, Y, strict=True):
        hidden = [x]
        for w in W[:-1]:
            hidden.append(np.tanh(hidden[-1] @ w))
        error = hidden[-1] @ W[-1] - y
        delta = error
        for layer in reversed(range(3)):
            updates[layer] += np.outer(hidden[layer], delta)
            if layer:
                back = error @ DIRECT[f"layer{layer}"] if rule == "dfa" else B[layer] @ delta
                delta = back * (1 - hidden[layer] ** 2)
    return updates


def network(weights, x, dense, feedback):
    for number, w in enumerate(weights):
        x = rules.cut(jnp.tanh(x), f"layer{number}") if number else x
        x = dense(x, w, None, feedback[number])
    return x


def loss(output):
    return 0.5 * jnp.square(output - Y).sum()


@pytest.mark.parametrize("rule", ["fa", "kp", "dfa"])
def test_the_gradients_are_those_of_the_formula_in_float64(rule):
    with jax.enable_x64(True):
        if rule == "dfa":
            plain = rules.dfa(lambda w, x: network(w, x, lambda x, w, b, f: x @ w, B))
            found = jax.grad(lambda w: loss(plain.apply(DIRECT, w, X)))([jnp.asarray(w) for w in W])
        else:
            dense = {"fa": rules.fa_dense, "kp": rules.kp_dense}[rule]
            feedback = [jnp.asarray(b) for b in B]
            found, for_feedback = jax.grad(lambda w, f: loss(network(w, X, dense, f)), argnums=(0, 1))(
                [jnp.asarray(w) for w in W], feedback
            )
            for ours, kernel in zip(for_feedback, found, strict=True):
                np.testing.assert_array_equal(ours, kernel if rule == "kp" else jnp.zeros_like(kernel))
        for ours, theirs in zip(found, formula(rule), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
