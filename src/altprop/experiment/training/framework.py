"""What trains networks: torch; or JAX, which :mod:`altprop.flax` brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

import torch
from torch import nn

from altprop.experiment.recipes.schema import MachineSection
from altprop.experiment.records.machine import versions
from altprop.experiment.training.checkpoints import Snapshot
from altprop.experiment.training.job import Job
from altprop.experiment.training.loop import Loop
from altprop.experiment.training.machine import Machine, make_machine
from altprop.experiment.training.randomness import all_seeded
from altprop.experiment.training.snapshots import put_back, put_back_network

Name = Literal["torch", "jax"]


class Framework(Protocol):
    """What trains the networks of a study; they are torch's before and after.

    Attributes:
        name: ``"torch"`` or ``"jax"``.
    """

    name: Name

    def machine(self, section: MachineSection) -> Machine:
        """Start what a recipe's ``machine`` asks for.

        Raises:
            InputError: there is no such machine.
        """

    def versions(self, machine: Machine) -> dict[str, str]:
        """The versions of what results depend on, and the device in words."""

    def loop(
        self, job: Job, machine: Machine, network: nn.Module, saved: Snapshot | None
    ) -> AbstractContextManager[Loop]:
        """A training within this block, ready for its next step; at its end the network has the weights reached.

        Args:
            job: what is done.
            machine: where.
            network: the network before the training, without its rule.
            saved: where to go on from; None: from the start.
        """


class Torch:
    """Torch itself; see :class:`Framework`."""

    name: Name = "torch"

    def machine(self, section: MachineSection) -> Machine:
        """See :func:`~altprop.experiment.training.machine.make_machine`."""
        return make_machine(section)

    def versions(self, machine: Machine) -> dict[str, str]:
        """See :func:`~altprop.experiment.records.machine.versions`."""
        return versions(str(machine.device))

    @contextmanager
    def loop(self, job: Job, machine: Machine, network: nn.Module, saved: Snapshot | None) -> Iterator[Loop]:
        """See :class:`Framework`."""
        with all_seeded(job.rule_seed), job.rule().attach(network):
            loop = Loop(job, machine, network)
            if saved is not None:
                put_back_network(saved, loop)
            loop.set_up()
            if machine.global_rank:
                torch.manual_seed(job.rule_seed + 2**20 * machine.global_rank)
            if saved is not None:
                put_back(saved, loop)
            yield loop


TORCH = Torch()
