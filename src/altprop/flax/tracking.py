"""What is measured of a network in JAX between epochs, under the names that torch's measurements have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array

from altprop.flax import metrics
from altprop.flax.program import Layers, Program, State

METRICS = ("bp_cosine", "weight_alignment", "sparsity", "norms")

Tracked = dict[str, float | None]


def track(program: Program, state: State, asked: Collection[str], batches: Iterable[tuple[Array, ...]]) -> Tracked:
    """Measure what is asked for, as :func:`altprop.experiment.training.tracking.track` does.

    Args:
        program: of the network.
        state: as it stands.
        asked: of :data:`METRICS`.
        batches: pairs of inputs and targets, over which the figures are averaged.
    """
    found: Tracked = {}
    if {"bp_cosine", "sparsity", "norms"} & set(asked):
        batches = list(batches)
        comparison, hidden = metrics.average(partial(program.compare, state), batches, len(batches))
        kinds = {"bp_cosine": "cosine", "sparsity": "sparsity", "norms": "norm_ratio"}
        for name in asked:
            if name in kinds:
                found |= _named("norm_ratio" if name == "norms" else name, getattr(comparison, kinds[name]))
        if "bp_cosine" in asked and hidden is not None:
            from altprop.experiment.records.study import HIDDEN_COSINE  # noqa: PLC0415  (the rules do without torch)

            found[HIDDEN_COSINE] = _defined(hidden)
    layers = program.layers(state)
    if "norms" in asked:
        found |= _weight_norms(layers)
    if "weight_alignment" in asked:
        found |= _alignment(layers)
    return found


def _weight_norms(layers: Layers) -> Tracked:
    squares = {
        name: sum(jnp.square(arrays[part]).sum() for part in ("kernel", "bias")) for name, arrays in layers.items()
    }
    norms = {f"weight_norm/{name}": float(jnp.sqrt(square)) for name, square in squares.items()}
    return {"weight_norm": float(jnp.sqrt(sum(squares.values()))), **norms}


def _alignment(layers: Layers) -> Tracked:
    feedback = {name: arrays[metrics.FEEDBACK] for name, arrays in layers.items() if metrics.FEEDBACK in arrays}
    if not feedback:
        return {"weight_alignment": None}
    return _named("weight_alignment", metrics.weight_alignment(layers, feedback))


def _named(name: str, scores: Any) -> Tracked:
    layers = {f"{name}/{layer}": _defined(value) for layer, value in scores.layers.items()}
    return {name: _defined(scores.total), **layers}


def _defined(value: Array) -> float | None:
    return float(value) if jnp.isfinite(value) else None
