"""The projections of an attached model, drawn when first needed from a seed that is there from the start.

The seed is a buffer of the model, so that a checkpoint holds it and DistributedDataParallel hands it to every process.
The matrices follow from it, and are plain attributes of the layers: what a model's state dict and buffers are does not
change with the first batch, so that averages of weights may be made before it. A matrix that is not the seed's, as it
was changed by hand or drawn by a function, is in the state dict too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from altprop._switches import out_of_inference, without_gradients
from altprop.rule import Attachment
from altprop.rules._hooks import remove_hooks

SEED = "direct_seed"
PROJECTION = "feedback_projection"
_READ = "_altprop_direct_seed_read"
_LOADED = "_altprop_direct_loaded"
_BROUGHT = "_altprop_direct_seed_brought"
_NAME = "_altprop_direct_name"
_FROM_SEED = "_altprop_direct_from_seed"
_STALE = -1
_ON_META = "_altprop_direct_seed_on_meta"


class Drawer(Protocol):
    """The rule, as far as it draws matrices."""

    def _drawn(self, shape: tuple[int, int], key: str, seed: int) -> Tensor: ...

    @property
    def _repeats(self) -> bool: ...


def prepare(model: nn.Module, cuts: list[tuple[str, nn.Module]], seed: int, drawer: Drawer) -> None:
    """Put the seed on the model, with hooks that load and save it."""
    for name, module in cuts:
        module.__dict__[_NAME] = name
        module.register_load_state_dict_pre_hook(_adopt)  # type: ignore[no-untyped-call]
    device = next(model.parameters()).device
    model.register_buffer(SEED, out_of_inference(torch.tensor)(seed, device=device))
    if device.type == "meta":
        model.__dict__[_ON_META] = seed
    model.register_load_state_dict_pre_hook(_keep_seed)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_post_hook(_follow_loaded_seed)  # type: ignore[no-untyped-call]
    model.register_state_dict_post_hook(_save)  # type: ignore[no-untyped-call]


def clear(model: nn.Module) -> None:
    """Undo :func:`prepare`, even if it was interrupted, and remove the matrices."""
    ours = (_adopt, _keep_seed, _follow_loaded_seed, _save)
    for module in model.modules():
        remove_hooks(module, lambda hook: any(hook is own for own in ours))
        for name in [*_matrices_of(module), _NAME, _FROM_SEED, _LOADED, _BROUGHT, _READ, _ON_META]:
            module.__dict__.pop(name, None)
    model._buffers.pop(SEED, None)


def matrix(module: nn.Module, name: str, h: Tensor) -> Tensor | None:
    """The matrix ``name`` of the layer that ``h`` enters, on its device and in its precision; None if not drawn yet."""
    B: Tensor | None = module.__dict__.get(name)
    if B is None:
        return None
    dtype = _precision(module, B)
    if B.dtype is not dtype or B.device != h.device:
        from_seed = _is_from_seed(module, name)
        module.__dict__[name] = B = B.to(h.device, dtype)
        if from_seed:
            _note(module, name)
    return B


def _precision(module: nn.Module, otherwise: Tensor) -> torch.dtype:
    weight = module._parameters.get("weight")
    if weight is None or not weight.is_floating_point():
        weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    return otherwise.dtype if weight is None else weight.dtype


def draw_matrix(model: nn.Module, module: nn.Module, name: str, shape: tuple[int, int], h: Tensor) -> Tensor:
    """Draw the matrix ``name`` for the layer that ``h`` enters."""
    drawer: Any = drawer_of(model)
    B: Tensor = drawer._drawn(shape, _key(module, name), seed_of(model)).to(h.device, _precision(module, h))
    module.__dict__[name] = B
    _note(module, name)
    return B


def drawer_of(model: nn.Module) -> Any:
    """The rule that is attached."""
    attachment = Attachment.of(model)
    assert attachment is not None
    return attachment.rule


def seed_of(model: nn.Module) -> int:
    """The seed of all matrices, read only when it may have changed: reading it waits for the device.

    If it has changed, the matrices that were drawn from it are drawn anew.
    """
    seed = model._buffers[SEED]
    assert seed is not None
    known = model.__dict__.get(_READ)
    if known is None and _ON_META in model.__dict__:
        seed.fill_(model.__dict__.pop(_ON_META))  # to_empty() gave it memory and no value
    if known is not None and known[1] == seed._version:
        return int(known[0])
    # DistributedDataParallel writes to every buffer before every pass; the first write is enough to know.
    by_ddp = nn.parallel.DistributedDataParallel._get_active_ddp_module() is not None  # type: ignore[no-untyped-call]
    if known is not None and by_ddp and known[2]:
        return int(known[0])
    value = int(seed)
    model.__dict__[_READ] = (value, seed._version, by_ddp)
    if known is not None and known[0] != value:
        _draw_anew(model, value, every=True)
    return value


@without_gradients
def _draw_anew(model: nn.Module, seed: int, *, every: bool) -> None:
    """Redraw the matrices that come from the seed: all, or those marked as stale."""
    drawer = drawer_of(model)
    for module in model.modules():
        of_seed = module.__dict__.get(_FROM_SEED, {})
        for name in _matrices_of(module):
            if name in of_seed and (every or of_seed[name] == _STALE):
                B = module.__dict__[name]
                # In place, so that compiled code keeps referring to it.
                B.copy_(drawer._drawn(tuple(B.shape), _key(module, name), seed))
                _note(module, name)


def _key(module: nn.Module, name: str) -> str:
    return f"{module.__dict__[_NAME]}.{name}"


def _matrices_of(module: nn.Module) -> list[str]:
    return [name for name in module.__dict__ if name.startswith(PROJECTION)]


def _note(module: nn.Module, name: str) -> None:
    """Remember that a matrix, as it is now, is what the seed gives."""
    module.__dict__.setdefault(_FROM_SEED, {})[name] = module.__dict__[name]._version


def _is_from_seed(module: nn.Module, name: str) -> bool:
    return bool(module.__dict__.get(_FROM_SEED, {}).get(name) == module.__dict__[name]._version)


def _adopt(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a state dict is loaded, take the matrices out of it: torch does not expect them."""
    start = prefix + PROJECTION
    loaded = {key.removeprefix(prefix): state_dict.pop(key) for key in [*state_dict] if key.startswith(start)}
    for name, value in loaded.items():
        device = next((p.device for p in module.parameters() if not p.is_meta), value.device)
        module.__dict__[name] = value.detach().clone().to(device)
        module.__dict__.get(_FROM_SEED, {}).pop(name, None)
    module.__dict__[_LOADED] = tuple(loaded)


def _keep_seed(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a state dict is loaded, keep the current seed if it has none, like the plain model's."""
    key = prefix + SEED
    module.__dict__[_BROUGHT] = key in state_dict
    state_dict.setdefault(key, module._buffers[SEED])


def _follow_loaded_seed(model: nn.Module, _: Any) -> None:
    """After a state dict is loaded, redraw from its seed the matrices that it does not hold."""
    brought = model.__dict__.pop(_BROUGHT, False)
    for module in model.modules():
        loaded = module.__dict__.pop(_LOADED, ())
        for name in _matrices_of(module) if brought else ():
            if name not in loaded and not _is_from_seed(module, name):
                module.__dict__.setdefault(_FROM_SEED, {})[name] = _STALE
    if brought:
        model.__dict__.pop(_ON_META, None)
        known = model.__dict__.pop(_READ, None)  # another tensor may be in the seed's place, of the same version
        value = seed_of(model)
        _draw_anew(model, value, every=known is not None and known[0] != value)


def _save(model: nn.Module, state_dict: dict[str, Any], prefix: str, _: Any) -> None:
    """Append to the state dict the matrices that the seed does not give."""
    attached = Attachment.of(model) is not None  # not while it is being attached or removed
    for name, module in model.named_modules() if attached else ():
        for own in _own_matrices(model, module):
            state_dict[f"{prefix}{name}.{own}"] = module.__dict__[own]


def _own_matrices(model: nn.Module, module: nn.Module) -> Iterator[str]:
    drawer = drawer_of(model)
    for name in _matrices_of(module):
        if not drawer._repeats:
            yield name
        elif not _is_from_seed(module, name):
            B = module.__dict__[name]
            if torch.equal(drawer._drawn(tuple(B.shape), _key(module, name), seed_of(model)).to(B), B):
                _note(module, name)
            else:
                yield name
