"""A training taken down between two steps, and set up again: bit for bit as if it had not been interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from altprop._sharding import full_tensor, shard_like
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.differences import check_same_recipe
from altprop.experiment.records.study import Epoch
from altprop.experiment.training.checkpoints import Snapshot
from altprop.experiment.training.machine import summed
from altprop.experiment.training.randomness import random_states, set_random_states

if TYPE_CHECKING:
    from altprop.experiment.training.loop import Loop


def take(loop: Loop) -> Snapshot:
    """Take down where a training stands. All of its processes must call it; the first one alone gets tensors."""
    optimizer = loop.optimizer.state_dict()
    entries = [(f"{number}/{key}", value) for number, own in optimizer["state"].items() for key, value in own.items()]
    facts = facts_of(loop) | {
        "optimizer": {
            "groups": optimizer["param_groups"],
            "state": {name: value for name, value in entries if not isinstance(value, Tensor)},
        },
        "precision": loop.machine.state(),
    }
    tensors = {f"optimizer/{name}": value for name, value in entries if isinstance(value, Tensor)}
    return Snapshot(
        model=_copies(loop, loop.network.state_dict()),
        tensors=_copies(loop, tensors) | _random(loop),
        facts=facts,
    )


def facts_of(loop: Loop) -> dict[str, Any]:
    """Where a training stands, but for the network and its optimizer. All of its processes must call it."""
    tally = loop.tally.state
    return {
        "seed": loop.job.seed,
        "recipe": loop.job.recipe_as_json,
        "step": loop.step,
        "epoch": loop.epoch,
        "batch": loop.batch,
        "tally": tally | {"totals": summed(loop.machine, tally["totals"])},
        "start": None if loop.start is None else loop.start.model_dump(),
        "history": list(loop.dumped),
        "seconds": loop.elapsed,
    }


def check_snapshot(snapshot: Snapshot, recipe: Recipe, seed: int, where: str, framework: str = "torch") -> None:
    """Check that a training may go on from a snapshot.

    Args:
        snapshot: from which.
        recipe: of the training; its length, machine, loggers and the like may differ from those before.
        seed: of the training.
        where: what to call the snapshot in errors.
        framework: what is to go on with it.

    Raises:
        InputError: it is of another framework or recipe; the message names the first key that differs.
    """
    there = snapshot.facts.get("framework", "torch")
    if there != framework:
        raise InputError(f"{where} was written by {there}, and {framework} cannot go on with it. Take another --name.")
    check_same_recipe(snapshot.facts["recipe"], recipe, where)
    if snapshot.facts["seed"] != seed:
        raise InputError(f"{where} is of seed {snapshot.facts['seed']}, and not {seed}.")


def put_back_network(snapshot: Snapshot, loop: Loop) -> None:
    """Give the network the state that it had. Before :meth:`Loop.set_up`."""
    loop.network.load_state_dict(snapshot.model)


def put_back_facts(snapshot: Snapshot, loop: Loop) -> None:
    """Go on where :func:`facts_of` says, but for the network and its optimizer."""
    facts = snapshot.facts
    loop.step, loop.epoch, loop.batch = facts["step"], facts["epoch"], facts["batch"]
    loop.start = None if facts["start"] is None else Epoch(**facts["start"])
    loop.history = [Epoch(**figures) for figures in facts["history"]]
    loop.dumped = list(facts["history"])
    loop.seconds = facts["seconds"]
    totals = facts["tally"]["totals"]
    first = loop.machine.global_rank == 0  # the sums were those of all processes
    loop.tally.restore(totals if first else [0.0] * len(totals), facts["tally"]["samples"])


def put_back(snapshot: Snapshot, loop: Loop) -> None:
    """Go on where a snapshot was taken. After :meth:`Loop.set_up`."""
    facts = snapshot.facts
    put_back_facts(snapshot, loop)
    loop.optimizer.load_state_dict(_optimizer(snapshot, loop.optimizer))
    loop.machine.load_state(facts["precision"])
    prefix = f"random/{loop.machine.global_rank}/"
    states = {name.removeprefix(prefix): t for name, t in snapshot.tensors.items() if name.startswith(prefix)}
    if states:
        set_random_states(states, loop.machine.device)


def _optimizer(snapshot: Snapshot, optimizer: Optimizer) -> dict[str, Any]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    saved = {name: t for name, t in snapshot.tensors.items() if name.startswith("optimizer/")}
    others = {f"optimizer/{name}": value for name, value in snapshot.facts["optimizer"]["state"].items()}
    for name, value in (saved | others).items():
        _, number, key = name.split("/")
        of = parameters[int(number)]
        alike = isinstance(value, Tensor) and value.shape == of.shape and key != "step"
        state.setdefault(int(number), {})[key] = shard_like(value, of) if alike else value
    return {"state": state, "param_groups": snapshot.facts["optimizer"]["groups"]}


def _random(loop: Loop) -> dict[str, Tensor]:
    """The random states of every process."""
    machine, own = loop.machine, random_states(loop.machine.device)
    if machine.world_size == 1:
        return {f"random/0/{name}": state for name, state in own.items()}
    everyone: list[Any] = [None] * machine.world_size
    torch.distributed.all_gather_object(everyone, own)
    return {f"random/{rank}/{name}": state for rank, states in enumerate(everyone) for name, state in states.items()}


def _copies(loop: Loop, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    copies = {}
    for name in sorted(tensors):  # in every process the same one; what safetensors has read is in any order
        one = full_tensor(tensors[name].detach())
        if loop.machine.is_global_zero:  # which alone writes; under fsdp the others might not have the room
            # Also of what others share memory with, such as tied weights: safetensors takes none that does.
            copies[name] = one.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return copies
