import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import flax as rules
from altprop.flax import linen as linen_layers
from altprop.flax import nnx as nnx_layers
from tests.flax.convert import array, batch, channels_last, close, gradients, kernel, parameters, tanh_network


def network(weights, x):
    """The JAX twin of ``tanh_network``, cut where torch's rules cut."""
    for number, layer in enumerate(weights.values()):
        if number:
            x = rules.cut(jnp.tanh(x), f"layer{number}")
        x = x @ layer["kernel"] + layer["bias"]
    return x


def loss(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def projections_of(model):
    """The projections of a torch network, named as :func:`network` names its cuts."""
    found = [module.feedback_projection for module in model.modules() if hasattr(module, "feedback_projection")]
    return {f"layer{number}": array(B) for number, B in enumerate(found, 1)}


TORCH = {
    "dfa": lambda: altprop.DFA(seed=0),
    "dfa-sign": lambda: altprop.DFA(seed=0, signal="sign"),
    "drtp": lambda: altprop.DRTP(seed=0),
    "shallow": altprop.Shallow,
}
OURS = {
    "dfa": rules.dfa,
    "dfa-sign": lambda network: rules.dfa(network, signal="sign"),
    "drtp": rules.drtp,
    "shallow": rules.shallow,
}


@pytest.mark.parametrize("name", TORCH)
def test_gradients_equal_the_torch_rule_s(name):
    model, (x, y) = tanh_network(), batch()
    TORCH[name]().attach(model)
    with altprop.targets(y):
        F.cross_entropy(model(x), y).backward()
    rule, projections = OURS[name](network), projections_of(model)
    given = {"targets": array(y)} if name == "drtp" else {}
    found = jax.grad(lambda w: loss(rule.apply(projections, w, array(x), **given), array(y)))(parameters(model))
    expected = gradients(model)
    for layer in expected:
        for part in ("kernel", "bias"):
            assert close(found[layer][part], expected[layer][part]), (layer, part)


def test_a_convolution_s_hidden_layer_is_taught_entry_by_entry():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    x, y = torch.randn(4, 2, 6, 6), torch.arange(4)
    altprop.DFA(seed=0).attach(model)
    F.cross_entropy(model(x), y).backward()
    # Torch flattens channels first: the same linear layer and projection, with their entries in the other order.
    B = array(model[3].feedback_projection).reshape(5, 3, 4, 4).transpose(0, 2, 3, 1).reshape(5, -1)
    last = array(model[3].weight).reshape(5, 3, 4, 4).transpose(0, 2, 3, 1).reshape(5, -1).T
    weights = {"conv": kernel(model[0].weight), "bias": array(model[0].bias), "last": last}

    def convolutional(w, x):
        z = rules.fa_conv(x, w["conv"], w["bias"], w["conv"], padding="VALID")
        return rules.cut(jnp.tanh(z), "hidden").reshape(len(x), -1) @ w["last"] + array(model[3].bias)

    rule = rules.dfa(convolutional)
    found = jax.grad(lambda w: loss(rule.apply({"hidden": B}, w, channels_last(x)), array(y)))(weights)
    assert close(found["conv"], kernel(model[0].weight.grad))


def test_per_sample_networks_under_vmap_equal_the_batch():
    weights, (x, y) = parameters(tanh_network()), map(array, batch())
    rule = rules.dfa(network)
    B = rule.init(jax.random.key(0), weights, x)
    assert jax.tree.map(jnp.shape, rule.init(jax.random.key(0), weights, x[0])) == jax.tree.map(jnp.shape, B)
    whole = jax.grad(lambda w: loss(rule.apply(B, w, x), y))(weights)
    mapped = jax.vmap(rule.apply, (None, None, 0))
    by_sample = jax.jit(jax.grad(lambda w: loss(mapped(B, w, x), y)))(weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), whole, by_sample)


def test_drtp_under_vmap_takes_its_share_by_scale():
    weights, (x, y) = parameters(tanh_network()), map(array, batch())
    rule = rules.drtp(network)
    B = rule.init(jax.random.key(0), weights, x)
    whole = jax.grad(lambda w: loss(rule.apply(B, w, x, targets=y), y))(weights)
    mapped = jax.vmap(lambda w, x, y: rule.apply(B, w, x, targets=y, scale=1 / len(batch()[0])), (None, 0, 0))
    by_sample = jax.grad(lambda w: loss(mapped(w, x, y), y))(weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), whole, by_sample)


def test_one_hot_targets_teach_as_classes_do():
    weights, (x, y) = parameters(tanh_network()), map(array, batch())
    rule = rules.drtp(network)
    B = rule.init(jax.random.key(0), weights, x)
    one, other = (
        jax.grad(lambda w, t=t: loss(rule.apply(B, w, x, targets=t), y))(weights) for t in (y, jax.nn.one_hot(y, 3))
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_outside_a_rule_a_cut_is_the_identity():
    weights, (x, y) = parameters(tanh_network()), map(array, batch())
    model = tanh_network()
    F.cross_entropy(model(batch()[0]), batch()[1]).backward()
    found = jax.grad(lambda w: loss(network(w, x), y))(weights)
    assert close(found["layer0"]["kernel"], gradients(model)["layer0"]["kernel"])


def test_projections_depend_on_the_key_and_the_name_alone():
    def fewer(weights, x):
        hidden = jnp.tanh(jnp.tanh(x @ weights["layer0"]["kernel"]) @ weights["layer1"]["kernel"])
        return rules.cut(hidden, "layer2") @ weights["layer2"]["kernel"]

    weights, x = parameters(tanh_network()), array(batch()[0])
    ours = rules.dfa(network).init(jax.random.key(0), weights, x)
    np.testing.assert_array_equal(ours["layer2"], rules.dfa(fewer).init(jax.random.key(0), weights, x)["layer2"])
    assert not np.array_equal(ours["layer2"], rules.dfa(network).init(jax.random.key(1), weights, x)["layer2"])


def nnx_network():
    rngs = nnx.Rngs(0)
    blocks = [nnx.Sequential(nnx.Linear(i, o, rngs=rngs), nnx.tanh) for i, o in ((6, 8), (8, 7))]
    return nnx_layers.DFANetwork(*blocks, nnx.Linear(7, 3, rngs=rngs), example=jnp.ones((1, 6)), rngs=rngs)


def test_an_nnx_network_of_blocks_learns_as_the_transform_does():
    model, (x, y) = nnx_network(), map(array, batch())
    found = nnx.jit(nnx.grad(lambda model: loss(model(x), y)))(model)
    linears = [model.blocks[0].layers[0], model.blocks[1].layers[0], model.blocks[2]]
    weights = {f"layer{n}": {"kernel": layer.kernel[...], "bias": layer.bias[...]} for n, layer in enumerate(linears)}
    B = {f"layer{n + 1}": model.projections[f"block{n}"][...] for n in range(2)}
    expected = jax.grad(lambda w: loss(rules.dfa(network).apply(B, w, x), y))(weights)
    for number, path in enumerate((("blocks", 0, "layers", 0), ("blocks", 1, "layers", 0), ("blocks", 2))):
        ours = found
        for step in path:
            ours = ours[step]
        np.testing.assert_allclose(ours["kernel"][...], expected[f"layer{number}"]["kernel"], rtol=1e-4, atol=1e-7)
    assert "projections" not in found


def test_an_nnx_network_keeps_its_statistics():
    rngs = nnx.Rngs(0)
    block = nnx.Sequential(nnx.Linear(6, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.tanh)
    before = block.layers[1].mean[...]
    model = nnx_layers.DFANetwork(block, nnx.Linear(8, 3, rngs=rngs), example=jnp.ones((2, 6)), rngs=rngs)
    np.testing.assert_array_equal(model.blocks[0].layers[1].mean[...], before)
    nnx.grad(lambda model: model(array(batch()[0])).sum())(model)
    assert not np.array_equal(model.blocks[0].layers[1].mean[...], before)


def test_a_linen_network_of_blocks_learns_as_the_transform_does():
    x, y = map(array, batch())
    blocks = [linen.Sequential([linen.Dense(width), linen.tanh]) for width in (8, 7)]
    model = linen_layers.DFANetwork([*blocks, linen.Dense(3)])
    variables = model.init(jax.random.key(0), x)
    params, feedback = variables["params"], variables["feedback"]

    def run(params):
        return loss(model.apply({"params": params, "feedback": feedback}, x), y)

    found = jax.jit(jax.grad(run))(params)
    dense = [params["blocks_0"]["layers_0"], params["blocks_1"]["layers_0"], params["blocks_2"]]
    weights = {f"layer{number}": layer for number, layer in enumerate(dense)}
    B = {f"layer{n + 1}": feedback["projections"][f"block{n}"] for n in range(2)}
    expected = jax.grad(lambda w: loss(rules.dfa(network).apply(B, w, x), y))(weights)
    ours = [found["blocks_0"]["layers_0"], found["blocks_1"]["layers_0"], found["blocks_2"]]
    for number, layer in enumerate(ours):
        np.testing.assert_allclose(layer["kernel"], expected[f"layer{number}"]["kernel"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda w, x: rules.dfa(lambda w, x: x @ w).init(jax.random.key(0), jnp.ones((6, 3)), x), "has no cut"),
        (lambda w, x: rules.dfa(network).apply({}, w, x), "no projection for the cut 'layer1'"),
        (
            lambda w, x: rules.dfa(network).apply({"layer1": jnp.ones((3, 9)), "layer2": jnp.ones((3, 7))}, w, x),
            r"shape \(3, 8\), got \(3, 9\)",
        ),
        (lambda w, x: rules.dfa(network, signal="size"), "must be 'error' or 'sign', got 'size'"),
        (lambda w, x: rules.dfa(lambda w, x: rules.cut(rules.cut(x, "a"), "a")).apply({}, w, x), "Two cuts"),
        (lambda w, x: rules.dfa(lambda w, x: rules.cut(x.T, "a").T).init(jax.random.key(0), w, x), "begins with"),
        (
            lambda w, x: rules.drtp(network).apply(
                rules.drtp(network).init(jax.random.key(0), w, x), w, x, targets=jnp.ones(5)
            ),
            "targets are classes of shape",
        ),
    ],
    ids=["no-cut", "no-projection", "shape", "signal", "twice", "batch", "targets"],
)
def test_what_does_not_fit_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(parameters(tanh_network()), array(batch()[0]))


@pytest.mark.parametrize("rule", ["drtp", "shallow"])
@pytest.mark.parametrize("layers", [nnx_layers, linen_layers], ids=["nnx", "linen"])
def test_networks_of_blocks_learn_as_the_transforms_do(rule, layers):
    x, y = map(array, batch())
    name = {"drtp": "DRTPNetwork", "shallow": "ShallowNetwork"}[rule]
    given = (y,) if rule == "drtp" else ()
    if layers is nnx_layers:
        rngs = nnx.Rngs(0)
        blocks = [nnx.Sequential(nnx.Linear(6, 8, rngs=rngs), nnx.tanh), nnx.Linear(8, 3, rngs=rngs)]
        drawn = {"example": x, "rngs": rngs} if rule == "drtp" else {}
        model = getattr(layers, name)(*blocks, **drawn)
        dense, B = [blocks[0].layers[0], blocks[1]], getattr(model, "projections", {})
        weights = {f"layer{n}": {"kernel": d.kernel[...], "bias": d.bias[...]} for n, d in enumerate(dense)}
        found = nnx.grad(lambda model: loss(model(x, *given), y))(model)
        found = [found["blocks"][0]["layers"][0]["kernel"][...], found["blocks"][1]["kernel"][...]]
        B = {"layer1": B["block0"][...]} if B else {}
    else:
        model = getattr(layers, name)([linen.Sequential([linen.Dense(8), linen.tanh]), linen.Dense(3)])
        variables = model.init(jax.random.key(0), x)
        params, rest = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        weights = {"layer0": params["blocks_0"]["layers_0"], "layer1": params["blocks_1"]}
        found = jax.grad(lambda p: loss(model.apply({"params": p} | rest, x, *given), y))(params)
        found = [found["blocks_0"]["layers_0"]["kernel"], found["blocks_1"]["kernel"]]
        B = {"layer1": rest["feedback"]["projections"]["block0"]} if rest else {}
    targets = {"targets": y} if rule == "drtp" else {}
    expected = jax.grad(lambda w: loss(OURS[rule](network).apply(B, w, x, **targets), y))(weights)
    assert rule == "drtp" or not found[0].any()
    for number, ours in enumerate(found):
        np.testing.assert_allclose(ours, expected[f"layer{number}"]["kernel"], rtol=1e-4, atol=1e-7)


def test_a_drtp_network_without_targets_gives_its_output_alone():
    x = array(batch()[0])
    model = linen_layers.DRTPNetwork([linen.Sequential([linen.Dense(8), linen.tanh]), linen.Dense(3)])
    variables = model.init(jax.random.key(0), x)
    np.testing.assert_array_equal(model.apply(variables, x), model.apply(variables, x, jnp.zeros(5, int)))
