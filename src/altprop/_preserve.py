"""Run a model without a trace: what it holds is as before when the block ends, so that looking changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_TABLES = ("_parameters", "_buffers", "_modules")


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Leave ``model`` and torch's random state as they are, whatever the block does, also if it raises.

    Kept: the values of parameters and buffers, which of them there are (also submodules), every ``.grad`` (the same
    tensor with the same values, or None), the training flags, and the random state of the CPU and, once CUDA is in use,
    of its devices. Hooks and ordinary attributes are not looked at.

    Within the block gradients start from None. The values are kept as a copy, on the model's own device.

    Args:
        model: any module whose parameters have their shapes.

    Raises:
        ValueError: a parameter or buffer is lazy: its shape comes with the first batch.
    """
    _check_not_lazy(model)
    with ExitStack() as after:
        after.enter_context(torch.random.fork_rng(devices=_cuda_devices()))
        after.callback(_restore_tables, [(module, _tables(module)) for module in model.modules()])
        after.callback(_restore_values, [(tensor, tensor.detach().clone()) for tensor in _tensors(model)])
        after.callback(_restore_gradients, [(parameter, parameter.grad) for parameter in model.parameters()])
        after.callback(_restore_training, [(module, module.training) for module in model.modules()])
        for parameter in model.parameters():
            parameter.grad = None
        yield


_evaluated: WeakKeyDictionary[nn.Module, tuple[bool, int]] = WeakKeyDictionary()
"""The modules in evaluation mode for a block: the mode they were in, and how many blocks there are, of all threads."""
_lock = threading.Lock()


@contextmanager
def in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of ``model`` in evaluation mode, and each back in its own when the last such block ends."""
    modules = list(model.modules())
    with _lock:
        for module in modules:
            training, blocks = _evaluated.get(module, (module.training, 0))
            _evaluated[module] = training, blocks + 1
        model.eval()
    try:
        yield
    finally:
        with _lock:
            for module in modules:
                training, blocks = _evaluated.pop(module)
                if blocks > 1:
                    _evaluated[module] = training, blocks - 1
                else:
                    module.training = training


def _check_not_lazy(model: nn.Module) -> None:
    lazy = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if is_lazy(tensor)]
    if lazy:
        raise ValueError(
            f"The shapes of {', '.join(lazy)} come with the first batch, and could not be taken back. Call the model "
            f"on one batch first."
        )


def _cuda_devices() -> range:
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return range(torch.cuda.device_count() if used else 0)


def _tensors(model: nn.Module) -> list[Tensor]:
    # An expanded tensor cannot be written to: neither by the block nor by us.
    return [tensor for tensor in [*model.parameters(), *model.buffers()] if not _is_expanded(tensor)]


def _is_expanded(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided:
        return False
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _tables(module: nn.Module) -> list[dict[str, object]]:
    return [dict(getattr(module, table)) for table in _TABLES]


def _restore_tables(before: list[tuple[nn.Module, list[dict[str, object]]]]) -> None:
    for module, tables in before:
        for table, entries in zip(_TABLES, tables, strict=True):
            current = getattr(module, table)
            current.clear()
            current.update(entries)


def _restore_values(before: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, value in before:
        # Through .data, so that a graph from before the block does not take its saved tensors for overwritten.
        tensor.data.copy_(value)


def _restore_gradients(before: list[tuple[nn.Parameter, Tensor | None]]) -> None:
    for parameter, gradient in before:
        parameter.grad = gradient


def _restore_training(before: list[tuple[nn.Module, bool]]) -> None:
    for module, training in before:
        module.training = training
