"""Train a network in JAX by a rule, compare its updates with backprop's, and write down what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from jax import Array

from altprop.experiment.data.examples import Examples, Splits
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from altprop.experiment.errors import InputError
from altprop.experiment.records.folder import Folder, results_folder
from altprop.experiment.registry import RULES
from altprop.experiment.training.watching import Watch
from altprop.flax import metrics
from altprop.flax.initializers import feedback_initializer
from altprop.flax.logs import weights_and_biases
from altprop.flax.networks import make_network, transform_for
from altprop.flax.results import FlaxEpoch, FlaxResults, write
from altprop.flax.settings import FlaxSettings

Batch = tuple[Array, Array]

_TEST_BATCH = 1024


def train(settings: FlaxSettings, *, watch: Watch | None = None) -> FlaxResults:
    """Train one network by one rule.

    Args:
        settings: what to train, and how.
        watch: told of each step.

    Returns:
        The results; also written to the folder ``results.folder``, with the weights, unless ``settings.out`` is None.
        ``results.interrupted`` says that Ctrl-C or the like came; the weights are those of that moment.

    Raises:
        InputError: (a ValueError) the settings do not fit the data, or the folder exists; nothing was trained.
    """
    watch = watch or Watch()
    default = f"flax-{settings.rule}-{settings.data}-{'-'.join(map(str, settings.hidden))}"
    with results_folder(settings, default, kind="JAX training") as folder:
        name, _, root = settings.data.partition(":")
        section = DataSection.model_validate(
            {"name": name, "root": root or None, "validation": settings.validation, "seed": settings.seed}
        )
        return _train(settings, open_data(section), watch, folder)


def _train(settings: FlaxSettings, data: Splits, watch: Watch, folder: Folder | None) -> FlaxResults:
    if settings.rule == "drtp" and data.task != "classification":
        raise InputError(f"DRTP needs classes as targets, but {data.name} is for {data.task}: take dfa.")
    start, job = time.perf_counter(), _Job(settings, data)
    rows = math.ceil(len(data.train) / settings.batch_size)
    watch.begin(settings.epochs * rows)
    watch.stage(f"{settings.rule} on {data.name}, in JAX")
    epochs, interrupted = list[FlaxEpoch](), False
    with weights_and_biases(settings, folder.path if folder else None) as log:
        try:
            for epoch in job.epochs(watch):
                epochs.append(epoch)
                log(epoch)
                if not math.isfinite(epoch.train_loss):
                    break
        except KeyboardInterrupt:
            if not epochs:
                raise
            interrupted = True
    results = FlaxResults(
        settings=settings,
        lr=job.lr,
        metric="accuracy" if data.task == "classification" else "R²",
        epochs=tuple(epochs),
        seconds=time.perf_counter() - start,
        interrupted=interrupted,
    )
    if folder is not None:
        write(results, _by_layer(nnx.state(job.network, nnx.Param)), folder.path)
        results.folder = folder.publish()
    return results


@dataclass
class _Job:
    """One network, its optimizer, and the functions that are compiled for them."""

    settings: FlaxSettings
    data: Splits

    def __post_init__(self) -> None:
        settings, rule = self.settings, self.settings.rule
        self.lr = settings.lr or RULES[rule].lr_with(settings.optimizer)
        self.network = self._network(rule)
        self.twin = self._network("backprop")
        transform = optax.chain(transform_for(rule), self._clip(), self._optimizer())
        self.optimizer = nnx.Optimizer(self.network, transform, wrt=nnx.Param)
        # Closed over, so that the compiled functions see neither settings nor data as arguments.
        classes, taught = self.data.task == "classification", rule == "drtp"
        loss = partial(_loss, classes)

        @nnx.jit
        def step(network: Any, optimizer: Any, x: Array, y: Array) -> Array:
            value, gradients = nnx.value_and_grad(lambda n: loss(n(x, y) if taught else n(x), y))(network)
            optimizer.update(network, gradients)
            loss_now: Array = value
            return loss_now

        @nnx.jit
        def compare(network: Any, twin: Any, x: Array, y: Array) -> metrics.Comparison:
            ours = _by_layer(nnx.grad(lambda n: loss(n(x, y) if taught else n(x), y))(network))
            scale, weights = transform_for(rule), _by_layer(nnx.state(network, nnx.Param))
            ours, _ = scale.update(ours, scale.init(ours), weights)
            return metrics.compare(ours, _by_layer(nnx.grad(lambda n: loss(n(x), y))(twin)))

        self.step, self.compare, self.run = step, compare, nnx.jit(lambda network, x: network(x))

    def epochs(self, watch: Watch) -> Iterator[FlaxEpoch]:
        """Train, an epoch at a time."""
        settings, data = self.settings, self.data
        order = np.random.default_rng(settings.seed)
        for number in range(1, settings.epochs + 1):
            batches = np.array_split(order.permutation(len(data.train)), self._cuts())
            compared = self._compare(batches)
            losses = []
            for indices in batches:
                losses.append(self.step(self.network, self.optimizer, *_batch(data.train, indices)))
                watch.advance()
            yield FlaxEpoch(
                epoch=number,
                train_loss=float(jnp.stack(losses).mean()),
                validation_score=None if data.validation is None else self._score(data.validation),
                test_score=self._score(data.test),
                **compared,
            )

    def _cuts(self) -> list[int]:
        size = self.settings.batch_size
        return list(range(size, len(self.data.train), size))

    def _network(self, rule: str) -> Any:
        settings, data = self.settings, self.data
        sizes = (math.prod(data.input_shape), *settings.hidden, data.outputs)
        feedback = settings.feedback_init
        if feedback is None and settings.feedback_scale != 1:
            feedback = "normal" if rule in ("dfa", "drtp") else "lecun_uniform"
        return make_network(
            rule,
            sizes,
            settings.activation_names,
            rngs=nnx.Rngs(params=settings.seed, feedback=settings.seed + 2**31),
            kernel_init=_scaled(settings.kernel_init, settings.kernel_scale),
            feedback_init=None if feedback is None else _scaled(feedback, settings.feedback_scale),
        )

    def _clip(self) -> optax.GradientTransformation:
        return optax.clip_by_global_norm(self.settings.clip) if self.settings.clip else optax.identity()

    def _optimizer(self) -> optax.GradientTransformation:
        settings = self.settings
        decay = optax.add_decayed_weights(settings.weight_decay) if settings.weight_decay else optax.identity()
        match settings.optimizer:
            case "sgd":
                return optax.chain(decay, optax.sgd(self.lr, settings.momentum))
            case "adam":
                return optax.chain(decay, optax.adam(self.lr))
            case "adamw":
                return optax.adamw(self.lr, weight_decay=settings.weight_decay)

    def _compare(self, batches: list[Any]) -> dict[str, Any]:
        """The rule's updates against backprop's, on the epoch's first batches, and the alignment of its weights."""
        if not self.settings.track:
            return {}
        weights = _by_layer(nnx.state(self.network, nnx.Param))
        _copy(weights, self.twin)
        picked = (_batch(self.data.train, indices) for indices in batches)
        found = metrics.average(partial(self.compare, self.network, self.twin), picked, self.settings.track)
        named = {
            "cosine": found.cosine.total,
            "bias_cosine": found.cosine.biases,
            "norm_ratio": found.norm_ratio.total,
            "layer_cosines": found.cosine.layers,
        }
        feedback = _feedback(self.network, list(weights))
        if feedback:
            named["weight_cosine"] = metrics.weight_alignment(weights, feedback).total
        defined: dict[str, Any] = jax.tree.map(_defined, named)
        return defined

    def _score(self, examples: Examples) -> float:
        pieces = np.array_split(np.arange(len(examples)), range(_TEST_BATCH, len(examples), _TEST_BATCH))
        pairs = [_batch(examples, piece) for piece in pieces]
        output = jnp.concatenate([self.run(self.network, x) for x, _ in pairs])
        y = jnp.concatenate([y for _, y in pairs])
        if self.data.task == "classification":
            return float((output.argmax(-1) == y).mean())
        return float((1 - jnp.square(output - y).sum(0) / jnp.square(y - y.mean(0)).sum(0)).mean())


def _loss(classes: bool, output: Array, y: Array) -> Array:
    wrong: Array = optax.softmax_cross_entropy_with_integer_labels(output, y) if classes else jnp.square(output - y)
    return wrong.mean()


def _batch(examples: Examples, indices: Any) -> Batch:
    x, y = examples.batch(torch.from_numpy(indices), 0)
    return jnp.asarray(x.flatten(1).numpy()), jnp.asarray(y.numpy())


def _scaled(init: str, scale: float) -> Any:
    draw = feedback_initializer(init)
    return init if scale == 1 else lambda *args, **kwargs: scale * draw(*args, **kwargs)


def _by_layer(state: Any) -> dict[str, dict[str, Array]]:
    """The arrays of a state by layer, in order, and by their own names."""
    layers: dict[tuple[Any, ...], dict[str, Array]] = {}
    # Layers are numbered by where they are in the lists of blocks.
    for path, variable in sorted(nnx.to_flat_state(state), key=lambda item: [p for p in item[0] if isinstance(p, int)]):
        layers.setdefault(path[:-1], {})[str(path[-1])] = variable[...]
    return {f"layer{number}": layer for number, layer in enumerate(layers.values())}


def _dense(network: Any) -> list[nnx.Linear]:
    found = [(path, module) for path, module in nnx.iter_modules(network) if isinstance(module, nnx.Linear)]
    return [module for _, module in sorted(found, key=lambda item: [p for p in item[0] if isinstance(p, int)])]


def _copy(weights: dict[str, dict[str, Array]], network: Any) -> None:
    for layer, values in zip(_dense(network), weights.values(), strict=True):
        layer.kernel[...] = values["kernel"]
        assert layer.bias is not None
        layer.bias[...] = values["bias"]


def _feedback(network: Any, names: list[str]) -> dict[str, Array]:
    layers = zip(names, _dense(network), strict=True)
    return {name: layer.feedback[...] for name, layer in layers if hasattr(layer, "feedback")}


def _defined(value: Array) -> float | None:
    return float(value) if jnp.isfinite(value) else None
