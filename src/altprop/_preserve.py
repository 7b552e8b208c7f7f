"""Restore a model: its values when a block ends, its structure when a change fails."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

T = TypeVar("T")

_TABLES = ("_parameters", "_buffers", "_modules")


@contextmanager
def preserved(model: nn.Module, values_of: Iterable[Tensor] | None = None) -> Iterator[None]:
    """Restore ``model`` and torch's random state when the block ends, also if it raises.

    Kept: the values of parameters and buffers, which of them there are (also submodules), every ``.grad`` (the same
    tensor with the same values, or None), the training flags, and the random state of the CPU and, once CUDA is in use,
    of its devices. Hooks and ordinary attributes are not looked at.

    Within the block gradients start from None. The values are kept as a copy, on the model's own device.

    Args:
        model: any module whose parameters have their shapes.
        values_of: the parameters and buffers whose values are kept. Default: all. To leave out those that the block
            does not change saves the copy.

    Raises:
        ValueError: a parameter or buffer is lazy: its shape comes with the first batch.
    """
    _check_not_lazy(model)
    tensors = [*model.parameters(), *model.buffers()] if values_of is None else values_of
    kept = (
        partial(_restore_random, torch.get_rng_state(), [(i, torch.cuda.get_rng_state(i)) for i in _cuda_devices()]),
        partial(_restore_training, [(module, module.training) for module in model.modules()]),
        partial(_restore_gradients, [(parameter, parameter.grad) for parameter in model.parameters()]),
        partial(_restore_tables, [(module, _tables(module)) for module in model.modules()]),
        partial(_restore_values, [(tensor, tensor.detach().clone()) for tensor in _writable(tensors)]),
    )
    try:
        for parameter in model.parameters():
            parameter.grad = None
        yield
        _do_all(kept)
    except BaseException:
        _do_all(kept)
        raise


class Structure:
    """A snapshot of modules: classes, attributes, tables and hooks; their parameters' hooks and requires_grad.

    Tensors' values are not part of it.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = [(module, type(module), vars(module).copy()) for module in modules]
        self._tables = [
            (table, table.copy())
            for _, _, attributes in self._modules
            for table in attributes.values()
            if type(table) in (dict, OrderedDict, set)
        ]
        own = (module.parameters(recurse=False) for module, _, _ in self._modules)
        self._parameters = [(p, p.requires_grad, _hooks(p)) for parameters in own for p in parameters]

    def restore(self) -> None:
        """Restore modules and parameters: the same objects in the same order."""
        self.restore_modules()
        for parameter, learns, hooks in self._parameters:
            if parameter.requires_grad is not learns:
                parameter.requires_grad_(learns)
            for name, (table, entries) in hooks.items():
                if table is not None:
                    _refill(table, entries)
                if getattr(parameter, name) is not table:
                    setattr(parameter, name, table)

    def restore_modules(self) -> None:
        """Restore the modules, but leave the parameters' hooks and requires_grad as they are now."""
        for module, kind, attributes in self._modules:
            if type(module) is not kind:
                module.__class__ = kind
            _refill(vars(module), attributes)
        for table, entries in self._tables:
            _refill(table, entries)


def _hooks(parameter: Tensor) -> dict[str, tuple[Any, Any]]:
    tables = {name: getattr(parameter, name) for name in ("_backward_hooks", "_post_accumulate_grad_hooks")}
    return {name: (table, None if table is None else table.copy()) for name, table in tables.items()}


def _refill(table: Any, entries: Any) -> None:
    """Restore the entries of a dict or a set, if they have changed."""
    if isinstance(table, set):
        same = table == entries
    else:
        same = list(table) == list(entries) and all(table[name] is value for name, value in entries.items())
    if not same:
        table.clear()
        table.update(entries)


_evaluated: WeakKeyDictionary[nn.Module, tuple[bool, set[object]]] = WeakKeyDictionary()
"""The modules in evaluation mode for a block: the mode they were in, and the blocks there are, of all threads."""
_lock = threading.RLock()


@contextmanager
def in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of ``model`` in evaluation mode, and restore each one's mode when the last such block ends."""
    modules, block = list(model.modules()), object()
    try:
        locked(partial(_enter_evaluation, model, modules, block))
        yield
        locked(partial(_leave_evaluation, modules, block))
    except BaseException:
        locked(partial(_leave_evaluation, modules, block))
        raise


def _enter_evaluation(model: nn.Module, modules: list[nn.Module], block: object) -> None:
    for module in modules:
        training, blocks = _evaluated.get(module, (module.training, set()))
        _evaluated[module] = training, {*blocks, block}
    model.eval()


def _leave_evaluation(modules: list[nn.Module], block: object) -> None:
    for module in modules:
        training, blocks = _evaluated.get(module, (module.training, set()))
        if blocks == {block}:
            module.training = training
            del _evaluated[module]
        else:
            blocks.discard(block)


def locked(work: Callable[[], None]) -> None:
    """Run ``work`` in one thread at a time."""
    try:
        _lock.acquire()
        work()
        _lock.release()
    except BaseException:
        # Not a with block: an interrupt at its exit would leave the lock locked.
        if _lock._is_owned():  # type: ignore[attr-defined]
            _lock.release()
        raise


@contextmanager
def pushed(stack: list[T], entry: T) -> Iterator[None]:
    """Push ``entry`` on ``stack`` for the block."""
    depth = len(stack)
    try:
        stack.append(entry)
        yield
        del stack[depth:]
    except BaseException:
        # Not in a finally alone: an interrupt can come before its first line.
        del stack[depth:]
        raise


def _do_all(kept: Iterable[Callable[[], None]]) -> None:
    for restore in kept:
        restore()


def _restore_random(state: Tensor, of_devices: list[tuple[int, Tensor]]) -> None:
    torch.set_rng_state(state)
    for device, of_device in of_devices:
        torch.cuda.set_rng_state(of_device, device)


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


def _writable(tensors: Iterable[Tensor]) -> list[Tensor]:
    # An expanded tensor cannot be written to, by the block or by us.
    return [tensor for tensor in tensors if not _is_expanded(tensor)]


def _is_expanded(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided:
        return False
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _tables(module: nn.Module) -> list[dict[str, object]]:
    return [dict(getattr(module, table)) for table in _TABLES]


def _restore_tables(before: list[tuple[nn.Module, list[dict[str, object]]]]) -> None:
    for module, tables in before:
        for table, entries in zip(_TABLES, tables, strict=True):
            _refill(getattr(module, table), entries)


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
