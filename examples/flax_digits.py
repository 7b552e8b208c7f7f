"""Handwritten digits in JAX: a Flax network of one's own loop learns by feedback alignment, by DFA and by LFP.

pip install 'altprop[flax]' scikit-learn
python examples/flax_digits.py
"""

import argparse

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import altprop.flax
from altprop.flax.nnx import DFANetwork, FADense


def backprop(rngs, example):
    return nnx.Sequential(
        nnx.Linear(64, 256, rngs=rngs),
        nnx.relu,
        nnx.Linear(256, 256, rngs=rngs),
        nnx.relu,
        nnx.Linear(256, 10, rngs=rngs),
    )


def feedback_alignment(rngs, example):
    return nnx.Sequential(
        FADense(64, 256, rngs=rngs), nnx.relu, FADense(256, 256, rngs=rngs), nnx.relu, FADense(256, 10, rngs=rngs)
    )


def direct_feedback_alignment(rngs, example):
    hidden = [nnx.Sequential(nnx.Linear(width, 256, rngs=rngs), nnx.relu) for width in (64, 256)]
    return DFANetwork(*hidden, nnx.Linear(256, 10, rngs=rngs), example=example, rngs=rngs)


def feedback_propagation(rngs, example):
    relu = altprop.flax.secant(nnx.relu)
    layers = [nnx.Linear(64, 256, rngs=rngs), relu, nnx.Linear(256, 256, rngs=rngs), relu]
    return nnx.Sequential(*layers, nnx.Linear(256, 10, rngs=rngs), altprop.flax.apply_deferred_factor)


@nnx.jit
def step(model, optimizer, x, y):
    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    optimizer.update(model, nnx.grad(loss)(model))


def train(build, rate, data, epochs, transform=None):
    x, y, x_test, y_test = data
    model = build(nnx.Rngs(params=0, feedback=1), x[:1])
    chain = [transform or optax.identity(), optax.clip_by_global_norm(3.0), optax.sgd(rate, 0.9)]
    optimizer = nnx.Optimizer(model, optax.chain(*chain), wrt=nnx.Param)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        for batch in np.split(order.permutation(len(x))[:1408], 22):
            step(model, optimizer, x[batch], y[batch])
    accuracy = (model(x_test).argmax(1) == y_test).mean()
    print(f"{build.__name__.replace('_', ' '):26} accuracy {accuracy:.3f}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=20)
epochs = parser.parse_args().epochs

pixels, digits = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(digits))
x, y = jax.numpy.asarray((pixels - pixels.mean()) / pixels.std())[order], jax.numpy.asarray(digits)[order]
data = x[:1437], y[:1437], x[1437:], y[1437:]

train(backprop, 0.1, data, epochs)
train(feedback_alignment, 0.03, data, epochs)
train(direct_feedback_alignment, 0.03, data, epochs)
train(feedback_propagation, 1.0, data, epochs, transform=altprop.flax.scale_by_weights())
