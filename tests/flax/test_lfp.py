import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import flax as rules
from tests.flax.convert import array, batch, close, gradients, parameters, tanh_network

ACTIVATIONS = {
    "relu": (nn.ReLU, jax.nn.relu),
    "tanh": (nn.Tanh, jnp.tanh),
    "sigmoid": (nn.Sigmoid, jax.nn.sigmoid),
    "step": (altprop.nn.Step, lambda z: (z > 0).astype(z.dtype)),
}


def network(weights, x, activation, epsilon):
    phi = rules.secant(activation, epsilon)
    for number, layer in enumerate(weights.values()):
        x = phi(x) if number else x
        x = x @ layer["kernel"] + layer["bias"]
    return rules.apply_deferred_factor(x, epsilon)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("epsilon", [1e-6, 0.3, 0.0])
@pytest.mark.parametrize("minimum_scale", [0.0, 0.05])
def test_updates_equal_the_torch_rule_s(name, epsilon, minimum_scale):
    theirs, ours = ACTIVATIONS[name]
    model, (x, y) = tanh_network(activation=theirs), batch()
    altprop.LFP(epsilon, minimum_scale=minimum_scale).attach(model)
    F.cross_entropy(model(x), y).backward()
    weights = parameters(model)

    def loss(weights):
        logits = network(weights, array(x), ours, epsilon)
        return optax.softmax_cross_entropy_with_integer_labels(logits, array(y)).mean()

    scale = rules.scale_by_weights(minimum_scale)
    found, _ = scale.update(jax.grad(loss)(weights), scale.init(weights), weights)
    expected = gradients(model)
    for layer in expected:
        for part in ("kernel", "bias"):
            assert close(found[layer][part], expected[layer][part]), (layer, part)


@settings(deadline=None)  # the first call compiles
@given(st.floats(-3, 3, width=32), st.floats(1e-6, 1))
def test_the_secant_shares_out_what_the_formula_says(z, epsilon):
    slope = float(jax.grad(rules.secant(jnp.tanh, epsilon))(jnp.float32(z)))
    sign = 1 if z >= 0 else -1
    assert slope == pytest.approx(np.tanh(z) / (z + epsilon * sign), rel=1e-4, abs=1e-6)


def test_no_credit_passes_a_zero_without_epsilon():
    assert jax.grad(rules.secant(jax.nn.sigmoid, 0.0))(0.0) == 0


def test_an_nnx_network_learns_with_any_optax_optimizer():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(6, 16, rngs=rngs),
        rules.secant(jax.nn.relu),
        nnx.Linear(16, 3, rngs=rngs),
        rules.apply_deferred_factor,
    )
    optimizer = nnx.Optimizer(model, optax.chain(rules.scale_by_weights(), optax.adam(0.02)), wrt=nnx.Param)
    x, y = map(array, batch(samples=30))

    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @nnx.jit
    def step(model, optimizer):
        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(step(model, optimizer)) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_bfloat16_stays():
    gradient = jax.grad(lambda z: rules.secant(jnp.tanh)(z).sum())(jnp.ones(3, jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize("wrong", [-1.0, float("inf"), float("nan")])
def test_bad_values_are_refused(wrong):
    with pytest.raises(ValueError, match="epsilon must be a finite number"):
        rules.secant(jnp.tanh, wrong)
    with pytest.raises(ValueError, match="minimum_scale must be a finite number"):
        rules.scale_by_weights(wrong)


def test_without_the_parameters_there_is_nothing_to_scale_by():
    scale = rules.scale_by_weights()
    with pytest.raises(ValueError, match="needs the parameters"):
        scale.update(jnp.ones(2), scale.init(jnp.ones(2)))


def test_torch_and_jax_agree_on_sign_zero():
    z = torch.zeros(1, requires_grad=True)
    layer = nn.Sequential(nn.Identity(), nn.Sigmoid())
    altprop.LFP(0.5).attach(layer)
    layer(z).backward()
    assert float(jax.grad(rules.secant(jax.nn.sigmoid, 0.5))(0.0)) == pytest.approx(float(z.grad))
