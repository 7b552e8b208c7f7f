"""The time of a training step in JAX under each rule, as a ratio to backprop's on the same network.

The rules take turns, several compiled steps each, in one process; the figure is the median over rounds of the ratio to
backprop's time beside it. ``backprop-again`` is backprop against itself: the noise.

    python benchmarks/flax_step_time.py
    python benchmarks/flax_step_time.py --nets conv --rules fa dfa --rounds 50
"""

import argparse
import math
import time
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from altprop.flax.networks import make_network
from altprop.flax.nnx import DFANetwork, FAConv, FADense, KPConv, KPDense, SignSymmetricConv, SignSymmetricDense

RULES = ("backprop-again", "fa", "kp", "sign-symmetric", "dfa", "lfp", "shallow")
LAYERS = {
    "fa": (FAConv, FADense),
    "kp": (KPConv, KPDense),
    "sign-symmetric": (SignSymmetricConv, SignSymmetricDense),
}


def mlp(rule):
    """Three hidden layers of 500, on vectors of 784."""
    return make_network(rule, (784, 500, 500, 500, 10), ["relu"] * 3, rngs=nnx.Rngs(0)), (784,)


def conv(rule):
    """Four convolutions and a linear layer, on 16×16 images."""
    rngs = nnx.Rngs(0)
    convolution, dense = LAYERS.get(rule, (nnx.Conv, nnx.Linear))
    blocks = [
        nnx.Sequential(convolution(i, o, (3, 3), strides=s, rngs=rngs), nnx.relu)
        for i, o, s in ((3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2))
    ]
    last = nnx.Sequential(lambda x: x.reshape(len(x), -1), dense(128 * 16, 10, rngs=rngs))
    if rule == "dfa":
        return DFANetwork(*blocks, last, example=jnp.zeros((1, 16, 16, 3)), rngs=rngs), (16, 16, 3)
    return nnx.Sequential(*blocks, last), (16, 16, 3)


NETS = {"mlp": mlp, "conv": conv}


def stepper(network, shape, batch):
    """A compiled step of SGD with momentum on one batch, and its state."""
    graph, params, rest = nnx.split(network, nnx.Param, ...)
    optimizer = optax.sgd(0.0, 0.9)
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    y = jnp.arange(batch) % 10

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, rest):
        def loss(params):
            output = nnx.merge(graph, params, rest)(x)
            return optax.softmax_cross_entropy_with_integer_labels(output, y).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    return step, [params, optimizer.init(params)], rest


def seconds(runner, steps):
    step, state, rest = runner
    start = time.perf_counter()
    for _ in range(steps):
        state[:] = step(*state, rest)
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    for net in options.nets:
        backprop = stepper(*NETS[net]("backprop"), options.batch)
        # A rule without an own form of this network is left out.
        rules = [rule for rule in options.rules if net == "mlp" or rule in ("backprop-again", "dfa", *LAYERS)]
        runners = {rule: stepper(*NETS[net](rule.removesuffix("-again")), options.batch) for rule in rules}
        ratios = {rule: [] for rule in runners}
        for runner in (backprop, *runners.values()):
            seconds(runner, 3)
        times = []
        for _ in range(options.rounds):
            for rule, runner in runners.items():
                beside = seconds(backprop, options.steps)
                ratios[rule].append(seconds(runner, options.steps) / beside)
                times.append(beside)
        print(f"{net}: backprop {1e3 * median(times):.2f} ms a step")
        for rule, found in ratios.items():
            low, high = sorted(found)[len(found) // 4], sorted(found)[math.ceil(3 * len(found) / 4) - 1]
            print(f"  {rule:16} {median(found):.3f}   (middle half {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
