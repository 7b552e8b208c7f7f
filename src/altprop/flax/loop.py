"""The training loop of the experiments, with the steps taken by JAX."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from torch import Tensor, nn

from altprop.experiment.training.checkpoints import Snapshot
from altprop.experiment.training.job import Job
from altprop.experiment.training.loop import Loop
from altprop.experiment.training.machine import Machine
from altprop.experiment.training.snapshots import facts_of, put_back_facts
from altprop.experiment.training.stepping import NotFiniteError, check_loss
from altprop.flax.optimizing import make_objective, make_optimizer
from altprop.flax.program import Layers, Program, State
from altprop.flax.tracking import track

_STATE = "jax/"


class JaxLoop(Loop):
    """A training in JAX under way; see :class:`~altprop.experiment.training.loop.Loop`.

    Batches, evaluation and records are those of every training; the network in torch is what it starts from, and has
    its weights again between epochs.
    """

    def __init__(self, job: Job, machine: Machine, network: nn.Module) -> None:
        super().__init__(job, machine, network)
        self._linear = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
        layers = list(self._linear.values())
        section, recipe = job.recipe.single_rule, job.recipe
        self.program = Program(
            rule=section.name,
            arguments=section.arguments,
            sizes=[layers[0].in_features, *(layer.out_features for layer in layers)],
            activation=recipe.model.activation,
            names=list(self._linear),
            seed=job.rule_seed,
            objective=make_objective(job.objective_name, job.splits.task, recipe.objective.label_smoothing),
            optimizer=make_optimizer(recipe.optimizer),
            clip=recipe.training.clip,
        )
        self.state = self.program.with_layers(self.program.start, self._weights())

    def set_up(self) -> None:
        """What is called to evaluate the network is JAX's."""
        self.model = _InJax(self)

    def bring_back(self) -> None:
        """Give the network in torch the weights that are reached."""
        with torch.no_grad():
            for name, arrays in self.program.layers(self.state).items():
                self._linear[name].weight.copy_(_tensor(arrays["kernel"]).T)
                self._linear[name].bias.copy_(_tensor(arrays["bias"]))

    def snapshot(self) -> Snapshot:
        """Take down where the training stands."""
        self.bring_back()
        return Snapshot(
            model={name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()},
            tensors={f"{_STATE}{name}": _tensor(leaf) for name, leaf in _leaves(self.state)},
            facts=facts_of(self) | {"framework": "jax"},
        )

    def put_back(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken."""
        put_back_facts(snapshot, self)
        leaves = [_array(snapshot.tensors[f"{_STATE}{name}"]) for name, _ in _leaves(self.state)]
        self.state = jax.tree.unflatten(jax.tree.structure(self.state), leaves)
        self.bring_back()

    def _weights(self) -> Layers:
        layers = self._linear.items()
        return {name: {"kernel": _array(layer.weight.T), "bias": _array(layer.bias)} for name, layer in layers}

    def _take_step(
        self, data: Iterator[tuple[Tensor, Tensor]], parts: list[tuple[Tensor, float, int]], size: int
    ) -> None:
        x, y = next(data)
        state, found = self.program.step(self.state, *in_jax(x, y), self.lr)
        if not (math.isfinite(found.loss) and math.isfinite(found.norm)):
            self._check(found.loss, x, y)
        self.state, loss = state, _tensor(found.loss)
        self.tally.add_outputs(self.job.read(_tensor(found.output)), y)
        self.tally.add_loss(loss, size)

    def _check(self, loss: Array, x: Tensor, y: Tensor) -> None:
        """Say what is not finite in a step that was not taken."""
        self.bring_back()
        check_loss(_tensor(loss), self.network, x, self.step + 1)
        updates = self.program.updates(self.state, *in_jax(x, y))
        named = {f"{layer}.{name}": update for layer, arrays in updates.items() for name, update in arrays.items()}
        broken = (f"the update of {name}" for name, update in named.items() if not jnp.isfinite(update).all())
        raise NotFiniteError(next(broken, "the norm of the update"), self.step + 1)

    def _measured(self) -> dict[str, Any]:
        self.bring_back()
        return super()._measured()

    def _tracked(self) -> dict[str, float | None]:
        section = self.job.recipe.track
        batches = (in_jax(x, y) for x, y in self.first_batches(section.batches))
        return track(self.program, self.state, section.metrics, batches)


class _InJax(nn.Module):
    """The network that JAX trains, called as one of torch."""

    def __init__(self, loop: JaxLoop) -> None:
        super().__init__()
        self._loop = loop

    def forward(self, x: Tensor) -> Tensor:
        return _tensor(self._loop.program.output(self._loop.state, in_jax(x)[0]))


def in_jax(x: Tensor, *others: Tensor) -> tuple[Array, ...]:
    """A batch as JAX's networks take it: the inputs as vectors, and what else there is."""
    return tuple(jnp.asarray(tensor.numpy()) for tensor in (x.flatten(1), *others))


def _array(tensor: Tensor) -> Array:
    """A copy: what JAX takes from numpy may share its memory."""
    return jnp.array(tensor.detach().numpy())


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array))


def _leaves(state: State) -> list[tuple[str, Array]]:
    leaves, _ = jax.tree.flatten_with_path(state)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
