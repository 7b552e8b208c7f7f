"""Fully connected networks by the name of their rule."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from altprop.experiment.networks.names import ACTIVATIONS as TORCH_S
from altprop.experiment.recipes.checks import check_recipe
from altprop.experiment.recipes.schema import Recipe
from altprop.flax.networks import ACTIVATIONS, RULES, dense_layers, make_network


@pytest.mark.parametrize("name", TORCH_S)
def test_activations_are_those_of_torch(name):
    z = torch.tensor([-3.0, -0.5, -0.0, 0.0, 1e-3, 0.5, 3.0])
    ours = ACTIVATIONS[name](jnp.array(z.numpy()))
    assert np.allclose(ours, TORCH_S[name]()(z).detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_the_output_is_that_of_the_layers_whatever_the_rule(rule):
    network = make_network(rule, (2, 4, 3), "tanh", rngs=nnx.Rngs(0))
    x = jnp.array([[0.5, -1.0]])
    first, last = dense_layers(network)
    expected = jnp.tanh(x @ first.kernel[...] + first.bias[...]) @ last.kernel[...] + last.bias[...]
    assert np.allclose(network(x), expected, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_arguments_are_those_of_the_torch_rule(rule):
    values = {"init": "orthogonal", "mode": "fixed", "signal": "sign", "normalize": True}
    values |= {"epsilon": 0.1, "minimum_scale": 0.1}
    given = {name: values[name] for name in RULES[rule]}
    check_recipe(Recipe(rule={"name": rule, **given}))
    make_network(rule, (2, 4, 3), rngs=nnx.Rngs(0), arguments=given)


def test_layers_are_in_order_beyond_ten():
    sizes = (1, *range(2, 14))
    layers = dense_layers(make_network("backprop", sizes, rngs=nnx.Rngs(0)))
    assert [layer.out_features for layer in layers] == list(sizes[1:])


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="There is no rule 'other'"):
        make_network("other", (2, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="There is no activation 'tahn'"):
        make_network("fa", (2, 3, 4), "tahn", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="There is no argument of fa 'epsilon'"):
        make_network("fa", (2, 3, 4), rngs=nnx.Rngs(0), arguments={"epsilon": 1})
