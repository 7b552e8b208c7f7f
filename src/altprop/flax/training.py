"""Train networks in JAX by a recipe: its data, its folder and its page are those of every training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import torch
from torch import nn

from altprop.experiment.comparison import folder_of, recipe_and_data
from altprop.experiment.data.catalog import find_data_set
from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.rules import with_rules_for
from altprop.experiment.recipes.schema import MachineSection
from altprop.experiment.records.machine import versions
from altprop.experiment.records.study import Study
from altprop.experiment.studies.study import run_study
from altprop.experiment.training.checkpoints import Snapshot
from altprop.experiment.training.framework import Name
from altprop.experiment.training.job import Job
from altprop.experiment.training.machine import Alone, Machine
from altprop.experiment.training.watching import Watch
from altprop.flax.checks import check_for_jax
from altprop.flax.loop import JaxLoop
from altprop.flax.networks import RULES


def train(
    recipe: Recipe | Path | str | None = None,
    *,
    data: Any = None,
    out: Path | str | None = "runs",
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    watch: Watch | None = None,
    **flags: Any,
) -> Study:
    """Train a network in JAX by one rule, or by several side by side, for each seed.

    The networks start from the weights, and see the batches, of :func:`altprop.experiment.train` and
    :func:`~altprop.experiment.compare` by the same recipe. What comes out is of the same form: the networks can be
    loaded, explained, pruned and attacked in torch.

    Args:
        recipe: as for :func:`altprop.experiment.train`.
        data: likewise.
        out: likewise.
        name: likewise.
        overwrite: likewise.
        resume: likewise.
        watch: likewise.
        **flags: likewise.

    Returns:
        The study; see :func:`altprop.experiment.compare`.

    Raises:
        InputError: (a ValueError) something is wrong with what was asked for, JAX cannot do it, or the folder exists;
            nothing was trained.

    Example:
        >>> study = train(data="circles", model="8", rules="lfp,fa", epochs=1, out=None)
        >>> [summary.rule for summary in study.summaries]
        ['lfp', 'fa']
    """
    made, options = recipe_and_data("train", recipe, data, flags)
    check_for_jax(made)
    splits = options.get("splits")
    task = made.data.task or (splits or find_data_set(made.data.name)).task
    rules = [rule for rule in with_rules_for(made, task).rules if rule.name in RULES]
    made = made.model_copy(update={"rule": rules[0] if len(rules) == 1 else tuple(rules)})
    folder = folder_of(out, name)
    return run_study(made, overwrite=overwrite, resume=resume, watch=watch, framework=JAX, **folder, **options)


class _InMemory(Alone):
    """Batches and outputs are in this process's memory, between those that read and judge them and JAX's device."""

    def __init__(self, section: MachineSection) -> None:
        super().__init__(torch.device("cpu"))
        self.jax_device = _device(section.accelerator)


class Jax:
    """JAX; see :class:`~altprop.experiment.training.framework.Framework`."""

    name: Name = "jax"

    def machine(self, section: MachineSection) -> Machine:
        """See :class:`~altprop.experiment.training.framework.Framework`."""
        return _InMemory(section)

    def versions(self, machine: Machine) -> dict[str, str]:
        """See :class:`~altprop.experiment.training.framework.Framework`."""
        assert isinstance(machine, _InMemory)
        device = machine.jax_device
        packages = {package: version(package) for package in ("jax", "flax", "optax")}
        return versions("cpu") | packages | {"device": f"{device.platform}:{device.id} ({device.device_kind}), by JAX"}

    @contextmanager
    def loop(self, job: Job, machine: Machine, network: nn.Module, saved: Snapshot | None) -> Iterator[JaxLoop]:
        """See :class:`~altprop.experiment.training.framework.Framework`."""
        assert isinstance(machine, _InMemory)
        with jax.default_device(machine.jax_device):
            loop = JaxLoop(job, machine, network)
            loop.set_up()
            if saved is not None:
                loop.put_back(saved)
            yield loop
            loop.bring_back()


JAX = Jax()


def _device(accelerator: str) -> jax.Device:
    """The device that a recipe means by its accelerator.

    Raises:
        InputError: JAX does not have it.
    """
    if accelerator == "auto":
        return jax.devices()[0]
    kind, _, number = accelerator.partition(":")
    try:
        return jax.devices(kind)[int(number or 0)]
    except (RuntimeError, IndexError) as error:
        there = ", ".join(f"{device.platform}:{device.id}" for device in jax.devices())
        raise InputError(
            f"machine.accelerator: JAX has no device {accelerator!r}, but {there}. Take another --device, or install "
            f"JAX for it."
        ) from error
