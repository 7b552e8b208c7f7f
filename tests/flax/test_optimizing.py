"""Objectives and optimizers in JAX are those of torch."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from altprop.experiment.objectives import make_objective as make_torch_objective
from altprop.experiment.recipes.schema import OptimizerSection
from altprop.flax.optimizing import make_objective, make_optimizer

SECTIONS = [
    {"name": "sgd", "momentum": 0},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "sgd", "momentum": 0.5, "nesterov": True},
    {"name": "adam", "betas": (0.7, 0.9), "weight_decay": 0.1},
    {"name": "adamw", "weight_decay": 0.3},
]


def torch_optimizer(weight, section):
    own = {"nesterov": section.nesterov, "momentum": section.momentum} if section.name == "sgd" else {}
    own |= {} if section.name == "sgd" else {"betas": section.betas}
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.name]
    return kind([weight], 0.1, weight_decay=section.weight_decay, **own)


@pytest.mark.parametrize("changes", SECTIONS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_steps_are_those_of_torch(changes):
    section, updates = OptimizerSection(**changes), torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    theirs = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 0.0]))
    optimizer, ours, transform = (
        torch_optimizer(theirs, section),
        jnp.array(theirs.detach().numpy()),
        make_optimizer(section),
    )
    state = transform.init(ours)
    for update in updates:
        theirs.grad = update
        optimizer.step()
        change, state = transform.update(jnp.array(update.numpy()), state, ours)
        ours = optax.apply_updates(ours, -0.1 * change)
        assert np.allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "task", "smoothing"),
    [
        ("cross-entropy", "classification", 0.0),
        ("cross-entropy", "classification", 0.2),
        ("mse", "classification", 0.0),
        ("mse", "regression", 0.0),
        ("mse", "reconstruction", 0.0),
    ],
)
def test_objectives_are_those_of_torch(name, task, smoothing):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(5, 3, generator=generator)
    y = torch.tensor([0, 2, 1, 1, 0]) if task == "classification" else torch.randn(5, 3, generator=generator)
    expected = make_torch_objective(name, task, label_smoothing=smoothing)(output, y)
    ours = make_objective(name, task, smoothing)(jnp.array(output.numpy()), jnp.array(y.numpy()))
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)
