"""What a recipe descends and by which steps, in JAX: the formulas are torch's."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array

from altprop.experiment.data.examples import Task
from altprop.experiment.recipes.schema import OptimizerSection

OBJECTIVES = ("cross-entropy", "mse")
OPTIMIZERS = ("sgd", "adam", "adamw")


def make_objective(name: str, task: Task, label_smoothing: float = 0.0) -> Callable[[Array, Array], Array]:
    """A loss, called with outputs and targets.

    Args:
        name: one of :data:`OBJECTIVES`.
        task: of the data.
        label_smoothing: of the cross-entropy.
    """
    if name == "cross-entropy":
        return lambda output, y: optax.softmax_cross_entropy(output, _smoothed(output, y, label_smoothing)).mean()
    if task == "classification":
        return lambda output, y: jnp.square(output - jax.nn.one_hot(y, output.shape[1])).sum(1).mean()
    return lambda output, y: jnp.square(output - y).mean()


def make_optimizer(section: OptimizerSection) -> optax.GradientTransformation:
    """What gives the change of the parameters, which is still to be multiplied by minus the learning rate.

    Args:
        section: of a recipe, with one of :data:`OPTIMIZERS`.
    """
    decay = optax.add_decayed_weights(section.weight_decay) if section.weight_decay else optax.identity()
    if section.name == "sgd":
        momentum = optax.trace(section.momentum, section.nesterov) if section.momentum else optax.identity()
        return optax.chain(decay, momentum)
    adam = optax.scale_by_adam(*section.betas)
    return optax.chain(adam, decay) if section.name == "adamw" else optax.chain(decay, adam)


def _smoothed(output: Array, y: Array, smoothing: float) -> Array:
    classes = output.shape[1]
    return jax.nn.one_hot(y, classes) * (1 - smoothing) + smoothing / classes
