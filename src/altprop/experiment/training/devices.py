"""Lightning Fabric, as a recipe asks for it: devices, processes and precision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import MachineSection
from altprop.experiment.training.stepping import check_and_clip, check_loss

_Value = TypeVar("_Value")
_Given = TypeVar("_Given", bound=Optimizer)

_PER_CORE = 8


class OnFabric:
    """Several devices or processes, or another precision, by Lightning Fabric; see :class:`Machine`.

    Args:
        section: ``machine`` of a recipe. In several processes, each of them makes its own.

    Raises:
        InputError: there is no such machine.
    """

    def __init__(self, section: MachineSection) -> None:
        self.fabric = _launched(section)
        self.device = self.fabric.device
        self.world_size, self.global_rank = self.fabric.world_size, self.fabric.global_rank
        self.is_global_zero = self.fabric.is_global_zero
        self._precision: Any = self.fabric.strategy.precision
        self._scaler = getattr(self._precision, "scaler", None)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Put a network in Fabric's hands."""
        return cast(nn.Module, self.fabric.setup_module(network))

    def wrap_optimizer(self, optimizer: _Given) -> _Given:
        """Put an optimizer in Fabric's hands."""
        return cast(_Given, self.fabric.setup_optimizers(optimizer))

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass of a loss, scaled and shared as the machine has it."""
        self.fabric.backward(loss)

    def sharing(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Processes share their updates with the last part of a batch."""
        if last or self.world_size == 1:
            return nullcontext()
        context: AbstractContextManager[None] = self.fabric.no_backward_sync(model)  # type: ignore[arg-type]
        return context

    def scale(self) -> float:
        """The scale of float16, else 1."""
        return 1.0 if self._scaler is None else float(self._scaler.get_scale())

    def check_loss(self, loss: Tensor, network: nn.Module, x: Tensor, step: int) -> None:
        """See :func:`~altprop.experiment.training.stepping.check_loss`."""
        # Of several processes none may stop alone: they all see the update, and at the end the sum of the losses.
        if self.world_size == 1:
            check_loss(loss, network, self.convert(x), step)

    def check_and_clip(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        parameters: Sequence[tuple[str, nn.Parameter]],
        limit: float,
        step: int,
    ) -> None:
        """See :func:`~altprop.experiment.training.stepping.check_and_clip`."""
        if self._scaler is None:
            check_and_clip(parameters, limit, step)
            return
        # The scaler of float16 skips a step whose updates are not finite: that is no divergence.
        self.fabric.clip_gradients(model, optimizer, max_norm=limit or float("inf"), error_if_nonfinite=False)

    def to_device(self, value: _Value) -> _Value:
        """Tensors, or a tuple of them, on the device of this process."""
        moved: _Value = value if self.device.type == "cpu" else self.fabric.to_device(value)
        return moved

    def convert(self, x: Tensor) -> Tensor:
        """Inputs in the precision of the network."""
        converted: Tensor = self._precision.convert_input(x)
        return converted

    def autocast(self) -> AbstractContextManager[None]:
        """Operations run in the machine's precision."""
        return self.fabric.autocast()

    def barrier(self) -> None:
        """Wait for all processes."""
        self.fabric.barrier()

    def broadcast(self, value: _Value) -> _Value:
        """What the first process gives, in all of them."""
        return self.fabric.broadcast(value)

    def total(self, value: Tensor) -> Tensor:
        """The sum over processes."""
        return cast(Tensor, self.fabric.all_reduce(value, reduce_op="sum"))

    def gather(self, value: Tensor) -> Tensor:
        """The values of all processes, one behind the other."""
        return value if self.world_size == 1 else cast(Tensor, self.fabric.all_gather(value)).flatten(0, 1)

    def state(self) -> dict[str, Any]:
        """The state of the precision."""
        state: dict[str, Any] = self._precision.state_dict()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._precision.load_state_dict(state)


def _launched(section: MachineSection) -> Fabric:
    most = _PER_CORE * (os.cpu_count() or 1)
    if section.accelerator == "cpu" and isinstance(section.devices, int) and section.devices > most:
        raise InputError(
            f"machine.devices: {section.devices} processes on {os.cpu_count()} cores would only wait for each other: "
            f"at most {most} are started here."
        )
    accelerator, _, number = section.accelerator.partition(":")
    alone = section.strategy == "auto" and section.devices == 1 and section.nodes == 1
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=[int(number)] if number else section.devices,
            num_nodes=section.nodes,
            strategy=_strategy(section),
            precision=section.precision,
            # A single process ignores the launcher's environment variables: a worker of a sweep may be one of many of
            # Slurm's.
            plugins=[LightningEnvironment()] if alone else None,
        )
        fabric.launch()
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"The recipe's machine cannot be had: {reason}") from error
    return fabric


def _strategy(section: MachineSection) -> Any:
    if section.strategy == "fsdp":
        # The mesh of Fabric's strategy is of nodes and devices; here all processes share all pieces.
        return ModelParallelStrategy(_in_pieces)
    several = section.strategy == "auto" and (section.devices != 1 or section.nodes != 1)
    if section.strategy == "ddp" or (several and section.devices != "auto"):
        # A rule may leave parameters without an update. What it drew is the same in all processes already.
        return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    return section.strategy


def _in_pieces(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    # Not a group of parameters for each layer: some networks, and some rules, use a layer's weights without calling it.
    # What a process keeps of them between passes, with updates and the optimizer's state, is its piece all the same.
    everyone = init_device_mesh(mesh.device_type, (mesh.size(),))
    # Cut up again after each pass, or those who look at the parameters would find them whole after an evaluation.
    fully_shard(network, mesh=everyone, reshard_after_forward=True)
    return network
