"""``altprop models``, ``rules``, ``composites``, ``objectives``: what there is, by name."""

from __future__ import annotations

from inspect import signature

import typer

from altprop.cli.output import print_list


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (models, rules, composites, objectives):
        app.command()(command)


def models() -> None:
    """List the networks."""
    from altprop.experiment.networks.names import known_models

    print_list("Networks", ["--model", "inputs", ""], known_models())


def rules() -> None:
    """List the learning rules and their arguments."""
    from altprop.experiment.registry import REFERENCE, RULES

    rows = (
        [name, ", ".join(signature(entry.make).parameters), *(f"{rate:g}" for rate in entry.lr.values()), entry.summary]
        for name, entry in RULES.items()
    )
    rates = [f"lr, {optimizer}" for optimizer in RULES[REFERENCE].lr]
    print_list("Learning rules", ["--rules", "arguments", *rates, ""], rows)


def composites() -> None:
    """List the composites of rules by which a network can be explained, and their arguments."""
    from altprop.explain import COMPOSITES

    rows = (
        [name, ", ".join(signature(make).parameters), str(make.__doc__).partition("\n")[0].replace(":class:", "")]
        for name, make in COMPOSITES.items()
    )
    print_list("Composites", ["--composites", "arguments", ""], rows)


def objectives() -> None:
    """List the losses and rewards that a network can be trained for."""
    from altprop.experiment.objectives import LOSSES, tasks_of
    from altprop.rewards import REWARDS, SPIKE_REWARDS

    kinds = {"loss": list(LOSSES), "reward": list(REWARDS), "reward of spikes": list(SPIKE_REWARDS)}
    rows = ([name, ", ".join(tasks_of(name)), kind] for kind, names in kinds.items() for name in names)
    print_list("Objectives", ["--objective", "for", ""], rows)
