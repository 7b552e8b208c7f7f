"""What an experiment ran on: the device, and the packages."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch

from altprop.experiment.errors import InputError

_PACKAGES = ("altprop", "torch", "numpy", "scikit-learn")


def check_device(name: str) -> None:
    """Check that a device can be used.

    Raises:
        InputError: it cannot.
    """
    try:
        torch.empty(0, device=name)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"The device {name!r} cannot be used: {reason}. Take another --device.") from error


def versions(name: str) -> dict[str, str]:
    """The versions of what results depend on, and the device in words.

    Args:
        name: of the device.
    """
    device = torch.device(name)
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "Python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "device": f"{device} ({model}), {torch.get_num_threads()} CPU threads",
    }


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within this block torch uses so many threads of the CPU; unset: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
