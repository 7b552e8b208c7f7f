"""Remove hooks from a module by their type instead of by handles, which an interrupt could lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

_TABLES = ("_forward_pre_hooks", "_forward_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
           "_state_dict_hooks")  # fmt: skip
_OPTIONS = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


def remove_hooks(module: nn.Module, ours: Callable[[Any], bool]) -> None:
    """Remove the hooks for which ``ours`` holds."""
    for table in _TABLES:
        hooks = module.__dict__[table]
        for key in [key for key, hook in hooks.items() if ours(getattr(hook, "hook", hook))]:
            for option in _OPTIONS:
                module.__dict__[option].pop(key, None)
            del hooks[key]  # last: as long as it is there, another removal finds it


def hook_of_kind(module: nn.Module, kind: type) -> Any:
    """The forward pre-hook of a class, or None."""
    return next((hook for hook in module._forward_pre_hooks.values() if isinstance(hook, kind)), None)
