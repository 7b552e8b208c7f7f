"""Where a training runs: alone on one device, or on Lightning Fabric, which is imported for all else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import MachineSection
from altprop.experiment.records.machine import check_device
from altprop.experiment.training.stepping import check_and_clip, check_loss

_Value = TypeVar("_Value")
_Given = TypeVar("_Given", bound=Optimizer)


class Machine(Protocol):
    """The devices and processes of a training.

    Attributes:
        device: of this process.
        world_size: how many processes there are.
        global_rank: the number of this one, from 0.
        is_global_zero: whether it is the first, which alone writes.
    """

    device: torch.device
    world_size: int
    global_rank: int
    is_global_zero: bool

    def wrap(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, and wrap it for the machine; the result is what is called in training."""

    def wrap_optimizer(self, optimizer: _Given) -> _Given:
        """Wrap an optimizer of a wrapped network."""

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass of a loss."""

    def sharing(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Within this block processes exchange updates only if it is for the last part of a batch."""

    def scale(self) -> float:
        """What losses are multiplied by before the backward pass: the scale of float16, else 1."""

    def check_loss(self, loss: Tensor, network: nn.Module, x: Tensor, step: int) -> None:
        """Check that a loss is finite, where one process may stop alone.

        Raises:
            NotFiniteError: it is not.
        """

    def check_and_clip(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        parameters: Sequence[tuple[str, nn.Parameter]],
        limit: float,
        step: int,
    ) -> None:
        """Check the updates, and clip their norm; see :func:`~altprop.experiment.training.stepping.check_and_clip`."""

    def to_device(self, value: _Value) -> _Value:
        """Tensors, or a tuple of them, on the device."""

    def convert(self, x: Tensor) -> Tensor:
        """Inputs in the precision of the network, for calls past the wrapper."""

    def autocast(self) -> AbstractContextManager[None]:
        """Within this block operations run in the machine's precision."""

    def barrier(self) -> None:
        """Wait for all processes."""

    def broadcast(self, value: _Value) -> _Value:
        """What the first process gives, in all of them."""

    def total(self, value: Tensor) -> Tensor:
        """The sum over processes."""

    def gather(self, value: Tensor) -> Tensor:
        """The values of all processes, one behind the other along the first dimension."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the machine's precision."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""


class Alone:
    """One device in single precision, which needs no wrapper; see :class:`Machine`.

    Args:
        device: where to train.
    """

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wrap(self, network: nn.Module) -> nn.Module:
        """Move a network to the device."""
        return network.to(self.device)

    def wrap_optimizer(self, optimizer: _Given) -> _Given:
        """The optimizer as it is."""
        return optimizer

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def sharing(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """There is no one to share with."""
        return nullcontext()

    def scale(self) -> float:
        """Losses are not scaled."""
        return 1.0

    def check_loss(self, loss: Tensor, network: nn.Module, x: Tensor, step: int) -> None:
        """See :func:`~altprop.experiment.training.stepping.check_loss`."""
        check_loss(loss, network, x, step)

    def check_and_clip(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        parameters: Sequence[tuple[str, nn.Parameter]],
        limit: float,
        step: int,
    ) -> None:
        """See :func:`~altprop.experiment.training.stepping.check_and_clip`."""
        check_and_clip(parameters, limit, step)

    def to_device(self, value: _Value) -> _Value:
        """A tensor, or a tuple of them, on the device."""
        if self.device.type == "cpu":
            return value
        moved: Any = value
        moved = tuple(map(self.to_device, moved)) if isinstance(moved, tuple) else moved.to(self.device)
        result: _Value = moved
        return result

    def convert(self, x: Tensor) -> Tensor:
        """Inputs are in single precision."""
        return x

    def autocast(self) -> AbstractContextManager[None]:
        """Operations run in the precision of the network."""
        return nullcontext()

    def barrier(self) -> None:
        """There is no one to wait for."""

    def broadcast(self, value: _Value) -> _Value:
        """The value itself."""
        return value

    def total(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def gather(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def state(self) -> dict[str, Any]:
        """Single precision keeps nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """There is nothing to go on from."""


def make_machine(section: MachineSection) -> Machine:
    """Start what a recipe's ``machine`` asks for: in several processes, each of them comes by here.

    Args:
        section: of the recipe.

    Raises:
        InputError: there is no such machine.
    """
    one_process = section.strategy == "auto" and section.devices == 1 and section.nodes == 1
    started = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if one_process and started > 1:
        raise InputError(
            f"torchrun started {started} processes, but the recipe asks for one: set machine.strategy to ddp, and "
            f"machine.devices and machine.nodes to what torchrun was given."
        )
    if one_process and section.precision == "32-true":
        return Alone(find_device(section.accelerator))
    from altprop.experiment.training.devices import OnFabric  # noqa: PLC0415  (Fabric takes long to import)

    return OnFabric(section)


def find_device(accelerator: str) -> torch.device:
    """The device that a recipe means by its accelerator.

    Raises:
        InputError: it cannot be used.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if accelerator == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        accelerator = "cpu" if found is None else found.type
    name = "cuda:0" if accelerator == "cuda" else accelerator
    check_device(name)
    return torch.device(name)


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether a network normalises by statistics of the batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def share_buffers(machine: Machine, model: nn.Module) -> None:
    """Give all processes the buffers of the first: running statistics differ between them."""
    if machine.world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def summed(machine: Machine, values: list[float]) -> list[float]:
    """The sums of numbers over all processes."""
    if machine.world_size == 1:
        return values
    total: list[float] = machine.total(torch.tensor(values, dtype=torch.float64, device=machine.device)).tolist()
    return total
