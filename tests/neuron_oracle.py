"""LFP through time as its formula states it: reward by reward, neuron by neuron, in Python's floats. Slow and obvious.

A network is a list of layers, each a dict: ``w`` and ``b`` of its weighted sum, ``beta``, ``theta``, ``reset`` and
``delay`` of its neurons; other kinds of neuron have ``alpha`` (of a synaptic current), or ``v`` and ``c`` (of a
recurrent sum) too.
"""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import torch


def run(layers, x):
    """Forward over time; what each layer saw and gave at each step, as nested lists ``[t][layer]``."""
    steps, before = [], [None] * len(layers)
    for t, n_samples in ((t, len(x[t])) for t in range(len(x))):
        a, records = x[t].tolist(), []
        for number, layer in enumerate(layers):
            record = _advance(layer, a, before[number], n_samples)
            before[number], a = record, record.s
            records.append(record)
        steps.append(records)
    return steps


def _advance(layer, a, last, n_samples):
    width, zero_resets_all = len(layer["w"]), "alpha" in layer or "v" in layer
    zeros = [[0.0] * width for _ in range(n_samples)]
    new = SimpleNamespace(a=a, **{name: [row[:] for row in zeros] for name in ("u0", "s0", "syn0", "syn", "u", "s")})
    new.reset, new.before_reset = [row[:] for row in zeros], [row[:] for row in zeros]
    if last is not None:
        new.u0, new.s0, new.syn0 = last.u, last.s, last.syn
    beta, theta = layer["beta"], layer["theta"]
    for n, j in product(range(n_samples), range(width)):
        current = sum(layer["w"][j][i] * a[n][i] for i in range(len(a[n]))) + layer["b"][j]
        if "v" in layer:
            current += sum(layer["v"][j][k] * new.s0[n][k] for k in range(width)) + layer["c"][j]
        if "alpha" in layer:
            current += layer["alpha"] * new.syn0[n][j]
        new.syn[n][j] = current
        u0 = new.u0[n][j]
        reset = new.reset[n][j] = float(u0 > theta)
        u = beta * u0 + current
        if layer["reset"] == "subtract":
            new.before_reset[n][j], u = u, u - reset * theta
        elif layer["reset"] == "zero":
            u = (1 - reset) * u if zero_resets_all else (1 - reset) * beta * u0 + current
            new.before_reset[n][j] = u
        else:
            new.before_reset[n][j] = u
        spike = new.s[n][j] = float(u > theta)
        if not layer["delay"]:
            u = {"subtract": u - (spike - reset) * theta, "zero": u - (spike - reset) * u, "none": u}[layer["reset"]]
        new.u[n][j] = u
    return new


def walk_back(layers, steps, rewards, epsilon):
    """The updates of each layer's parameters and the reward at each input, from the rewards at the last spikes."""
    updates = [_zeros_like(layer) for layer in layers]
    inputs = []
    later = [None] * len(
        layers
    )  # what the next step hands back, by layer: rewards at membrane, spike, synaptic current
    for t in reversed(range(len(steps))):
        at_spikes = rewards[t].tolist()
        for number in reversed(range(len(layers))):
            at_spikes, later[number] = _back(
                layers[number], steps[t][number], at_spikes, later[number], updates[number], epsilon
            )
        inputs.insert(0, at_spikes)
    return [{k: torch.tensor(v, dtype=torch.float64) for k, v in u.items()} for u in updates], torch.tensor(
        inputs, dtype=torch.float64
    )


def _back(layer, step, at_spikes, later, updates, epsilon):
    n_samples, width, fan_in = len(step.a), len(layer["w"]), len(step.a[0])
    back = [[0.0] * fan_in for _ in range(n_samples)]
    now = SimpleNamespace(**{name: [[0.0] * width for _ in range(n_samples)] for name in ("u", "s", "syn")})
    zero = layer["reset"] == "zero"
    wiped = zero and ("alpha" in layer or "v" in layer)
    for n, j in product(range(n_samples), range(width)):
        spike = at_spikes[n][j] + (later.s[n][j] if later else 0.0)
        reward = spike + (later.u[n][j] if later else 0.0)
        reset = step.reset[n][j]
        left = step.u0[n][j] * (1 - reset) if zero else step.u0[n][j]
        # What was added up, had a reset not wiped it all.
        added = layer["beta"] * left + step.syn[n][j] if wiped else step.before_reset[n][j]
        divisor = abs(left) + abs(added - left) + epsilon
        rho = reward / divisor
        counts = 1 - reset if wiped else 1
        now.u[n][j] = layer["beta"] * left * rho * counts
        updates["beta"] += abs(layer["beta"]) * left * rho * counts
        updates["theta"] -= abs(layer["theta"]) * spike / divisor
        if layer["reset"] == "subtract":
            updates["theta"] -= abs(layer["theta"]) * reset * rho
        per_current = rho * counts
        if "alpha" in layer:
            # The reward at the synaptic current: from the membrane now, and from the current of the next step.
            per_current += later.syn[n][j] if later else 0.0
            now.syn[n][j] = layer["alpha"] * per_current
            updates["alpha"] += abs(layer["alpha"]) * step.syn0[n][j] * per_current
        for i in range(fan_in):
            back[n][i] += layer["w"][j][i] * step.a[n][i] * per_current
            updates["w"][j][i] += abs(layer["w"][j][i]) * step.a[n][i] * per_current
        updates["b"][j] += abs(layer["b"][j]) * per_current
        for k in range(width if "v" in layer else 0):
            now.s[n][k] += layer["v"][j][k] * step.s0[n][k] * per_current
            updates["v"][j][k] += abs(layer["v"][j][k]) * step.s0[n][k] * per_current
        if "v" in layer:
            updates["c"][j] += abs(layer["c"][j]) * per_current
    return back, now


def _zeros_like(layer):
    numbers = {name: value for name, value in layer.items() if name not in ("reset", "delay")}
    return {
        name: (torch.zeros(torch.tensor(value).shape).tolist() if isinstance(value, list) else 0.0)
        for name, value in numbers.items()
    }
