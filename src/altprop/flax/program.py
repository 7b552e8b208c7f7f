"""A network under a rule as functions of its state: a step of training, its output, and how its updates compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from altprop.flax import metrics
from altprop.flax.networks import dense_layers, make_network, transform_for

Objective = Callable[[Array, Array], Array]
Layers = dict[str, dict[str, Array]]
"""By the name of a layer its arrays by their own names: kernel, bias, and feedback where it has feedback weights."""


class State(NamedTuple):
    """All that a training changes, and all that its rule drew.

    Attributes:
        parameters: what the optimizer changes.
        fixed: what it does not, as fixed feedback weights.
        optimizer: its own state.
    """

    parameters: Any
    fixed: Any
    optimizer: Any


class Stepped(NamedTuple):
    """What a step gives besides the state.

    Attributes:
        loss: of the batch, before it.
        output: of the network, before it.
        norm: of the rule's update, before it is clipped.
    """

    loss: Array
    output: Array
    norm: Array


@dataclass
class Program:
    """The functions of one network under one rule, compiled at their first call.

    Args:
        rule: one of :data:`~altprop.flax.networks.RULES`.
        arguments: of the rule.
        sizes: of the inputs, of each hidden layer, and of the outputs.
        activation: of the hidden layers.
        names: what the layers are called.
        seed: of what the rule draws.
        objective: what is descended, called with outputs and targets.
        optimizer: gives the change of the parameters, to be multiplied by minus the learning rate.
        clip: what the norm of an update is clipped to; 0: it is not.

    Attributes:
        start: the state before the training. Its kernels and biases are Flax's: see :meth:`with_layers`.
    """

    rule: str
    arguments: Mapping[str, Any]
    sizes: Sequence[int]
    activation: str
    names: Sequence[str]
    seed: int
    objective: Objective
    optimizer: optax.GradientTransformation
    clip: float

    def __post_init__(self) -> None:
        self._scale = transform_for(self.rule, self.arguments)
        self._graph, parameters, fixed = _parts(self._network(self.rule, self.arguments))
        self._plain = nnx.split(self._network("backprop", {}))
        self.start = State(parameters, fixed, self.optimizer.init(parameters))
        self.step, self.output = jax.jit(self._step), jax.jit(self._output)
        self.updates, self.compare = jax.jit(self._updates), jax.jit(self._compare)
        self.compare_hidden = jax.jit(partial(self._compare, layers=slice(-1)))

    def layers(self, state: State) -> Layers:
        """The weights of each layer, and its feedback weights."""
        return self._by_layer(nnx.merge(self._graph, state.parameters, state.fixed))

    def with_layers(self, state: State, weights: Layers) -> State:
        """The state with other kernels and biases; the optimizer starts anew."""
        network = self._with(weights, (self._graph, state.parameters, state.fixed))
        _, parameters, fixed = _parts(network)
        return State(parameters, fixed, self.optimizer.init(parameters))

    def _network(self, rule: str, arguments: Mapping[str, Any]) -> nnx.Module:
        rngs = nnx.Rngs(params=0, feedback=self.seed)
        return make_network(rule, self.sizes, self.activation, rngs=rngs, arguments=arguments)

    def _step(self, state: State, x: Array, y: Array, lr: Array) -> tuple[State, Stepped]:
        """A step of training: the state after it, and what there was before."""
        (loss, output), updates = self._loss_and_updates(state, x, y)
        norm = jnp.sqrt(sum(jnp.square(update).sum() for update in jax.tree.leaves(updates)))
        if self.clip:  # as torch's clip_grad_norm_ does
            updates = jax.tree.map(partial(jnp.multiply, jnp.minimum(1.0, self.clip / (norm + 1e-6))), updates)
        changes, optimizer = self.optimizer.update(updates, state.optimizer, state.parameters)
        parameters = jax.tree.map(lambda w, change: w - lr * change, state.parameters, changes)
        return State(parameters, state.fixed, optimizer), Stepped(loss, output, norm)

    def _output(self, state: State, x: Array) -> Array:
        """The output of the network."""
        output: Array = nnx.merge(self._graph, state.parameters, state.fixed)(x)
        return output

    def _updates(self, state: State, x: Array, y: Array) -> Layers:
        """The rule's updates of a batch."""
        updates = self._loss_and_updates(state, x, y)[1]
        return self._by_layer(nnx.merge(self._graph, updates, state.fixed))

    def _compare(self, state: State, x: Array, y: Array, layers: slice = slice(None)) -> metrics.Comparison:
        """The rule's updates of a batch against backprop's, of these layers."""
        graph, parameters = nnx.split(self._with(self.layers(state), self._plain))
        gradients = jax.grad(lambda parameters: self.objective(nnx.merge(graph, parameters)(x), y))(parameters)
        trees = self._updates(state, x, y), self._by_layer(nnx.merge(graph, gradients))
        return metrics.compare(*({name: tree[name] for name in self.names[layers]} for tree in trees))

    def _loss_and_updates(self, state: State, x: Array, y: Array) -> tuple[tuple[Array, Array], Any]:
        def loss(parameters: Any) -> tuple[Array, Array]:
            network = nnx.merge(self._graph, parameters, state.fixed)
            output = network(x, y) if self.rule == "drtp" and len(self.sizes) > 2 else network(x)
            return self.objective(output, y), output

        found, gradients = jax.value_and_grad(loss, has_aux=True)(state.parameters)
        updates, _ = self._scale.update(gradients, self._scale.init(gradients), state.parameters)
        return found, updates

    def _by_layer(self, network: Any) -> Layers:
        return {name: _arrays(layer) for name, layer in zip(self.names, dense_layers(network), strict=True)}

    def _with(self, weights: Layers, parts: Any) -> Any:
        """A network of its parts, as ``nnx.split`` gives them, but for the kernels and biases."""
        network = nnx.merge(*parts, copy=True)
        for name, layer in zip(self.names, dense_layers(network), strict=True):
            layer.kernel[...] = weights[name]["kernel"]
            assert layer.bias is not None
            layer.bias[...] = weights[name]["bias"]
        return network


def _parts(network: nnx.Module) -> tuple[Any, Any, Any]:
    """The structure of a network, its parameters, and what else it holds."""
    parts: Any = nnx.split(network, nnx.Param, ...)
    return tuple(parts)


def _arrays(layer: Any) -> dict[str, Array]:
    arrays = {"kernel": layer.kernel[...], "bias": layer.bias[...]}
    if hasattr(layer, "feedback_now"):
        arrays[metrics.FEEDBACK], _ = layer.feedback_now(arrays["kernel"])
    return arrays
