"""Weights from files: read, compared with a network, and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from altprop.experiment.errors import InputError

_SHOWN = 3


def load_weights(network: nn.Module, file: Path, name: str) -> None:
    """Load weights from a file into a network.

    Args:
        network: what they are for.
        file: a state dict, as ``torch.save`` or safetensors write; it may lie under ``"state_dict"`` or ``"model"``,
            and its keys may begin with ``"module."``.
        name: what to call the network in errors.

    Raises:
        InputError: the file cannot be read, or the weights do not fit; the message names the first that do not.
    """
    put_weights(network, _read(file), file, name)


def put_weights(network: nn.Module, state: Mapping[str, Tensor], file: Path, name: str) -> None:
    """Load a state dict into a network.

    Args:
        network: what it is for.
        state: by name.
        file: where it was read.
        name: what to call the network in errors.

    Raises:
        InputError: it does not fit; the message names the first that does not.
    """
    expected = network.state_dict()
    wrong = [
        *(f"{key} is missing" for key in expected if key not in state),
        *(f"{key} is not known to it" for key in state if key not in expected),
        *(
            f"{key} has the shape {tuple(state[key].shape)} instead of {tuple(value.shape)}"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(f"The weights in {file} do not fit {name}: {'; '.join(wrong[:_SHOWN])}{more}.")
    network.load_state_dict(state)


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise InputError(f"There is no file of weights {file}.")
    try:
        state: Any = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    # A file that is none makes torch, pickle and zipfile raise all sorts of errors.
    except (Exception, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"The weights in {file} cannot be read: {reason}") from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, Mapping) and isinstance(state.get(key), Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{file} holds no state dict, which is a mapping from names to tensors, but {_kind(state)}.")
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _kind(state: Any) -> str:
    if isinstance(state, Mapping):
        other = next(key for key, value in state.items() if not isinstance(value, Tensor))
        return f"a mapping whose {other!r} is a {type(state[other]).__name__}"
    return f"a {type(state).__name__}"
