import os
import subprocess
import sys

SHARDED = """
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P

from altprop import flax as rules

assert len(jax.devices()) == 2
keys = iter(jax.random.split(jax.random.key(0), 9))
weights = [jax.random.normal(next(keys), shape) for shape in ((6, 8), (8, 3))]
feedback = [jax.random.normal(next(keys), w.shape) for w in weights]
x, y = jax.random.normal(next(keys), (4, 6)), jax.random.normal(next(keys), (4, 3))


def aligned(weights, x):
    return rules.fa_dense(jnp.tanh(rules.fa_dense(x, weights[0], None, feedback[0])), weights[1], None, feedback[1])


def secants(weights, x):
    return rules.apply_deferred_factor(rules.secant(jnp.tanh)(x @ weights[0]) @ weights[1])


def cuts(weights, x):
    return rules.cut(jnp.tanh(x @ weights[0]), "hidden") @ weights[1]


direct = rules.dfa(cuts)
projections = direct.init(jax.random.key(1), weights, x)
mesh = Mesh(np.array(jax.devices()), "batch")

for network in (aligned, secants, partial(direct.apply, projections)):
    def updates(weights, x, y):
        return jax.grad(lambda w: jnp.square(network(w, x) - y).sum())(weights)

    whole = updates(weights, x, y)

    # Each device takes half of the batch; what the weights get is summed, as they are the same on both.
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P(), check_vma=False)
    def parts(weights, x, y):
        return jax.lax.psum(updates(weights, x, y), "batch")

    for one, other in zip(whole, parts(weights, x, y)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
"""


def run(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_two_devices_share_a_batch():
    done = run(SHARDED, XLA_FLAGS="--xla_force_host_platform_device_count=2", JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr


WITHOUT = """
import importlib.util
import sys


class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {"jax", "flax", "optax"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hidden)
plain = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {"jax", "flax", "optax"} else plain(name, package)

import altprop

assert not {"jax", "flax", "optax"} & set(sys.modules)
try:
    import altprop.flax
except ModuleNotFoundError as error:
    print(error)
"""


def test_without_jax_altprop_imports_and_altprop_flax_names_the_extra():
    done = run(WITHOUT)
    assert done.returncode == 0, done.stderr
    assert "pip install 'altprop[flax]'" in done.stdout
    assert "jax, flax, optax" in done.stdout
