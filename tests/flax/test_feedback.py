from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx

import altprop
from altprop import flax as rules
from altprop.flax import linen as linen_layers
from altprop.flax import nnx as nnx_layers
from tests.flax.convert import array, channels_last, close, kernel

GEOMETRIES = {
    "dense": None,
    "conv1d": {"dimensions": 1, "groups": 1, "stride": 1, "padding": 1, "dilation": 1},
    "conv2d": {"dimensions": 2, "groups": 1, "stride": 2, "padding": 1, "dilation": 1},
    "conv2d-groups": {"dimensions": 2, "groups": 2, "stride": 1, "padding": 0, "dilation": 2},
}
KINDS = {
    "fa": ("FA", {}),
    "kp": ("KP", {}),
    "uSF": ("SignSymmetric", {"mode": "uniform"}),
    "frSF": ("SignSymmetric", {"mode": "fixed"}),
}


class Case:
    """A layer of torch with its gradients, and what a layer of JAX needs to be the same."""

    def __init__(self, kind, geometry):
        torch.manual_seed(0)
        prefix, given = KINDS[kind]
        self.geometry = GEOMETRIES[geometry]
        if self.geometry is None:
            self.layer = getattr(altprop.nn, f"{prefix}Linear")(6, 4, **given)
            x = torch.randn(5, 6)
        else:
            shape = dict(self.geometry)
            convolution = getattr(altprop.nn, f"{prefix}Conv{shape.pop('dimensions')}d")
            self.layer = convolution(4, 6, 3, **shape, **given)
            x = torch.randn(2, 4, *[9] * self.geometry["dimensions"])
        self.x = x.requires_grad_()
        z = self.layer(self.x)
        self.error = torch.randn_like(z)
        z.backward(self.error)
        self.z = z

    @property
    def moved(self):
        return array if self.geometry is None else channels_last

    @property
    def kernel(self):
        return kernel(self.layer.weight)

    @property
    def feedback(self):
        return kernel(self.layer.feedback_weight)

    @property
    def magnitude(self):
        buffers = dict(self.layer.named_buffers())
        fixed = "feedback_magnitude" in buffers
        return kernel(buffers["feedback_magnitude"]) if fixed else array(buffers["feedback_scale"])

    @property
    def conv_arguments(self):
        g = self.geometry
        return {
            "strides": g["stride"],
            "padding": [(g["padding"], g["padding"])] * g["dimensions"],
            "kernel_dilation": g["dilation"],
            "feature_group_count": g["groups"],
        }

    def check(self, run, x, weights):
        """Compare the values and all gradients of ``run(x, weights)`` with torch's."""
        z, pull = jax.vjp(run, x, weights)
        error_x, found = pull(self.moved(self.error))
        assert close(z, self.moved(self.z))
        assert close(error_x, self.moved(self.x.grad))
        assert close(found["kernel"], kernel(self.layer.weight.grad))
        assert close(found["bias"], array(self.layer.bias.grad))
        return found


@pytest.fixture(params=[(kind, geometry) for kind in KINDS for geometry in GEOMETRIES], ids="-".join)
def case(request):
    return Case(*request.param), request.param[0]


def test_functions_of_arrays_equal_the_torch_layers(case):
    case, kind = case
    name = {"fa": "fa", "kp": "kp"}.get(kind, "sign_symmetric")
    operation = getattr(rules, f"{name}_{'dense' if case.geometry is None else 'conv'}")
    geometry = {} if case.geometry is None else case.conv_arguments
    weights = {"kernel": case.kernel, "bias": array(case.layer.bias)}
    weights["feedback"] = case.magnitude if name == "sign_symmetric" else case.feedback

    def run(x, w):
        return operation(x, w["kernel"], w["bias"], w["feedback"], **geometry)

    found = case.check(run, case.moved(case.x), weights)
    if kind == "kp":
        assert close(found["feedback"], kernel(case.layer.feedback_weight.grad))
    else:
        assert not found["feedback"].any()


@pytest.fixture
def arguments(case):
    case, kind = case
    own = {"mode": {"uSF": "uniform", "frSF": "fixed"}[kind]} if kind.endswith("SF") else {}
    if case.geometry is None:
        return own
    return own | {"kernel_size": (3,) * case.geometry["dimensions"]} | case.conv_arguments


def layer_name(case, kind):
    prefix = {"fa": "FA", "kp": "KP"}.get(kind, "SignSymmetric")
    return prefix + ("Dense" if case.geometry is None else "Conv")


def test_nnx_layers_equal_the_torch_layers(case, arguments):
    case, kind = case
    features = (6, 4) if case.geometry is None else (4, 6)
    layer = getattr(nnx_layers, layer_name(case, kind))(*features, **arguments, rngs=nnx.Rngs(0))
    if kind.endswith("SF"):
        layer.magnitude[...] = case.magnitude
    else:
        layer.feedback[...] = case.feedback
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    weights = nnx.to_pure_dict(params) | {"kernel": case.kernel, "bias": array(case.layer.bias)}

    def run(x, weights):
        nnx.replace_by_pure_dict(params, weights)
        return nnx.merge(graph, params, rest)(x)

    found = case.check(run, case.moved(case.x), weights)
    assert ("feedback" in found) == (kind == "kp")
    if kind == "kp":
        assert close(found["feedback"], found["kernel"])


def test_linen_layers_equal_the_torch_layers(case, arguments):
    case, kind = case
    x = case.moved(case.x)
    layer = getattr(linen_layers, layer_name(case, kind))(features=4 if case.geometry is None else 6, **arguments)
    variables = layer.init(jax.random.key(0), x)
    collection = dict(variables.get("feedback", {}))
    if kind.endswith("SF"):
        collection["magnitude"] = case.magnitude
    elif kind == "fa":
        collection["kernel"] = case.feedback
    weights = variables["params"] | {"kernel": case.kernel, "bias": array(case.layer.bias)}
    if kind == "kp":
        weights["feedback"] = case.feedback

    def run(x, weights):
        return layer.apply({"params": weights, "feedback": collection}, x)

    found = case.check(run, x, weights)
    assert set(found) == {"kernel", "bias"} | ({"feedback"} if kind == "kp" else set())


@pytest.mark.parametrize("layers", [nnx_layers, linen_layers], ids=["nnx", "linen"])
@pytest.mark.parametrize("name", ["Dense", "Conv"])
def test_the_forward_pass_is_flax_s_own(layers, name):
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 4))
    shape = {} if name == "Dense" else {"kernel_size": (3, 3), "strides": 2, "padding": "CIRCULAR"}
    if layers is nnx_layers:
        plain = nnx.Linear if name == "Dense" else nnx.Conv
        ours = getattr(layers, f"FA{name}")(4, 6, **shape, rngs=nnx.Rngs(3))(x)
        theirs = plain(4, 6, **shape, rngs=nnx.Rngs(3))(x)
    else:
        layer, plain = getattr(layers, f"FA{name}")(6, **shape), getattr(linen, name)(6, **shape)
        variables = layer.init(jax.random.key(3), x)
        ours, theirs = layer.apply(variables, x), plain.apply({"params": variables["params"]}, x)
    np.testing.assert_array_equal(ours, theirs)


def test_a_masked_convolution_sends_no_error_through_the_cut_weights():
    mask = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(1)
    layer = nnx_layers.FAConv(2, 2, (3, 3), mask=mask, rngs=nnx.Rngs(0))
    x = jnp.ones((1, 5, 5, 2))
    only_centre = nnx.clone(layer)
    only_centre.feedback[...] = layer.feedback[...] * mask
    only_centre.mask = None
    error = jax.grad(lambda x: layer(x).sum())(x)
    np.testing.assert_allclose(error, jax.grad(lambda x: only_centre(x).sum())(x), rtol=1e-6)


def test_brsf_draws_new_magnitudes_at_each_call_with_the_signs_of_the_weights():
    layer = nnx_layers.SignSymmetricDense(4, 3, mode="batchwise", rngs=nnx.Rngs(0))
    error_of = nnx.jit(nnx.grad(lambda layer, x: layer(x)[0, 1], argnums=1))
    first, second = (error_of(layer, jnp.ones((1, 4))) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(jnp.sign(first[0]), jnp.sign(layer.kernel[...][:, 1]))


def test_kolen_pollack_with_weight_decay_makes_both_weights_one():
    x = jax.random.normal(jax.random.key(0), (8, 4))
    layer = linen_layers.KPDense(3)
    params = layer.init(jax.random.key(1), x)["params"]
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.5))
    state = optimizer.init(params)
    apart = [params["kernel"] - params["feedback"]]
    for _ in range(4):
        gradient = jax.grad(lambda p: jnp.square(layer.apply({"params": p}, x)).mean())(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        apart.append(params["kernel"] - params["feedback"])
    for before, after in pairwise(apart):
        np.testing.assert_allclose(after, before * (1 - 0.5 * 0.1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layers", [nnx_layers, linen_layers], ids=["nnx", "linen"])
def test_bfloat16_computes_and_teaches_in_its_own_dtype(layers):
    x = jnp.ones((2, 4), jnp.bfloat16)
    if layers is nnx_layers:
        layer = layers.FADense(4, 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
        gradient = nnx.grad(lambda layer: layer(x).astype(jnp.float32).sum())(layer)["kernel"][...]
        z = layer(x)
    else:
        layer = layers.FADense(3, dtype=jnp.bfloat16)
        variables = layer.init(jax.random.key(0), x)
        gradient = jax.grad(lambda v: layer.apply(v, x).astype(jnp.float32).sum())(variables)["params"]["kernel"]
        z = layer.apply(variables, x)
    assert z.dtype == jnp.bfloat16
    assert gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient, jnp.full((4, 3), 2.0))


def test_vmap_over_samples_and_jit_equal_the_batch():
    x = jax.random.normal(jax.random.key(0), (6, 4))
    W, B = (jax.random.normal(jax.random.key(k), (4, 3)) for k in (1, 2))

    def loss(W, x):
        return jnp.square(rules.fa_dense(jnp.tanh(x), W, None, B)).sum()

    whole = jax.grad(loss)(W, x)
    by_sample = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(W, x).sum(0)
    np.testing.assert_allclose(whole, by_sample, rtol=1e-5)


def test_feedback_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"kernel's shape, \(4, 3\); got \(3, 4\)"):
        rules.fa_dense(jnp.ones((1, 4)), jnp.ones((4, 3)), None, jnp.ones((3, 4)))


@pytest.mark.parametrize("wrong", [{"mode": "other"}, {"feedback_init": "lecunn"}])
def test_unknown_modes_and_schemes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be 'uniform'|There is no init"):
        nnx_layers.SignSymmetricDense(4, 3, **wrong, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"must be 'uniform'|There is no init"):
        linen_layers.SignSymmetricDense(3, **wrong).init(jax.random.key(0), jnp.ones((1, 4)))
