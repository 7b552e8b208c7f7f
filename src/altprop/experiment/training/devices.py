"""Lightning Fabric, as a recipe asks for it: devices, processes and precision."""

from __future__ import annotations

import os
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import MachineSection

_PER_CORE = 8


def make_fabric(section: MachineSection, loggers: list[Any] | None = None) -> Fabric:
    """Start what a recipe's ``machine`` asks for: in several processes, each of them comes by here.

    Args:
        section: of the recipe.
        loggers: Fabric's.

    Raises:
        InputError: there is no such machine.
    """
    most = _PER_CORE * (os.cpu_count() or 1)
    if section.accelerator == "cpu" and isinstance(section.devices, int) and section.devices > most:
        raise InputError(
            f"machine.devices: {section.devices} processes on {os.cpu_count()} cores would only wait for each other: "
            f"at most {most} are started here."
        )
    alone = section.strategy == "auto" and section.devices == 1 and section.nodes == 1
    started = int(os.environ.get("WORLD_SIZE", "1")) if TorchElasticEnvironment.detect() else 1
    if alone and started > 1:
        raise InputError(
            f"torchrun started {started} processes, but the recipe asks for one: set machine.strategy to ddp, and "
            f"machine.devices and machine.nodes to what torchrun was given."
        )
    try:
        fabric = Fabric(
            accelerator=section.accelerator,
            devices=section.devices,
            num_nodes=section.nodes,
            strategy=_strategy(section),
            precision=section.precision,
            # Alone, it is of no account how the process was started: a worker of a sweep may be one of many of Slurm's.
            plugins=[LightningEnvironment()] if alone else None,
            loggers=loggers,
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


def has_batch_statistics(model: nn.Module) -> bool:
    """Whether a network normalises by statistics of the batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def share_buffers(fabric: Fabric, model: nn.Module) -> None:
    """Give all processes the buffers of the first: running statistics differ between them."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def summed(fabric: Fabric, values: list[float]) -> list[float]:
    """The sums of numbers over all processes."""
    if fabric.world_size == 1:
        return values
    own = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    return cast(Tensor, fabric.all_reduce(own, reduce_op="sum")).tolist()
