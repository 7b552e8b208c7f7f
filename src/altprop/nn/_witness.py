"""Warn of layers with feedback weights that never act: their weights get a gradient though they have not run."""

from __future__ import annotations

import weakref
from functools import partial
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from altprop.nn._operations import weight_names
from altprop.rule import Attachment, owner_of

_told: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""The layers to warn of, and whether that was done."""

UNSEEN = "_altprop_unseen"
"""Where a layer that has not run yet keeps its watched weights, each with whether it had no table of hooks before."""


def watch(layer: nn.Module) -> None:
    """Warn once if a weight of ``layer`` gets a gradient before the layer has run with gradients enabled."""
    weights = [weight for weight in trained_weights(layer) if weight.requires_grad]
    _told.pop(layer, None)
    layer.__dict__[UNSEEN] = [(weight, weight._backward_hooks is None) for weight in weights]
    watch_again(layer)


def watch_again(layer: nn.Module) -> None:
    """Watch the copy of a watched layer: copied parameters lose their hooks."""
    for weight, _ in layer.__dict__.get(UNSEEN, ()):
        weight.register_hook(_FirstGradient(layer))


def unwatch(layer: nn.Module) -> None:
    """Stop watching ``layer`` and its submodules: it has run, or the rule was removed."""
    for module in layer.modules():
        for weight, had_no_table in module.__dict__.get(UNSEEN, ()):
            hooks: Any = weight._backward_hooks
            for key in [key for key, hook in (hooks or {}).items() if isinstance(hook, _FirstGradient)]:
                if hooks[key].layer() is module:
                    del hooks[key]
            if had_no_table and not hooks:
                weight._backward_hooks = None
        module.__dict__.pop(UNSEEN, None)


class _FirstGradient:
    """A hook on a weight, removed at the first pass of its layer so that later steps cost nothing."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = weakref.ref(layer)

    def __call__(self, gradient: Tensor) -> None:
        layer: Any = self.layer()
        attachment = None if layer is None else layer.attachment()
        # Once the compiler has traced layers, untraced ones cannot be told apart.
        if attachment is None or not attachment.active or attachment.traced:
            return
        if not _told.get(layer):
            _told[layer] = False
            # At the end of this backward pass, when all layers it reaches are known.
            torch.autograd.Variable._execution_engine.queue_callback(partial(_tell, attachment))


def _tell(attachment: Attachment) -> None:
    layers = {name: layer for name, layer in attachment.model.named_modules() if _told.get(layer) is False}
    _told.update(dict.fromkeys(layers.values(), not attachment.rule._is_strict))
    if layers:
        names = [name or "the model itself" for name in layers]
        attachment.rule._tell(
            f"{attachment.rule!r} did not act in {', '.join(names)}: the weights got their gradients by backprop, and "
            f"the layers' forward pass was not called. Either the weights are used without it, as in F.linear(x, "
            f"layer.weight), or it was replaced on the module (layer.forward = ...): then attach the rule first.",
        )


def watch_for_new_layers() -> None:
    """Tell the user of layers that are put into a model after a rule that changes layers was attached to it."""
    known = nn.modules.module._global_module_registration_hooks
    if _tell_of_new_layers not in known.values():
        nn.modules.module.register_module_module_registration_hook(_tell_of_new_layers)


def _tell_of_new_layers(module: nn.Module, name: str, new: nn.Module | None) -> None:
    of_a_weight = isinstance(module, ParametrizationList) or isinstance(new, ParametrizationList)
    if new is None or of_a_weight or not any(True for _ in new.parameters()):
        return
    attachment = owner_of(module)
    if attachment is None:
        return
    where = next(path for path, part in attachment.model.named_modules() if part is module)
    found = {".".join(filter(None, (where, name, path))): part for path, part in new.named_modules()}
    names = [path for path, part in found.items() if attachment.rule._misses(path, part)]
    if not names:
        return
    attachment.rule._tell(
        f"{attachment.rule!r} was attached before these layers were put into the model: {', '.join(names)}. They keep "
        f"backprop until it is removed and attached again.",
        stacklevel=3,
    )


def trained_weights(layer: nn.Module) -> list[nn.Parameter]:
    """The parameters that the weights of ``layer`` are, or are computed from."""
    own = [p for name, p in layer.named_parameters(recurse=False) if "weight" in name and "feedback" not in name]
    for name in weight_names(layer) if is_parametrized(layer) else ():
        if name in layer.parametrizations:  # type: ignore[operator]
            own += layer.parametrizations[name].parameters()  # type: ignore[index,union-attr]
    return own


def calls_its_class(layer: nn.Module) -> bool:
    """Whether ``layer(...)`` runs the forward pass of its class, as far as the module shows.

    One that was replaced on the module may still call it by a bound method that it keeps there, as accelerate's does.
    """
    own = vars(layer)
    return "forward" not in own or any(_is_bound(value, layer, type(layer).forward) for value in own.values())


def rebind(layer: nn.Module, old: Any, new: Any) -> None:
    """Replace bound methods ``old`` that are stored on ``layer`` by ``new``."""
    for name, value in list(vars(layer).items()):
        if _is_bound(value, layer, old):
            layer.__dict__[name] = MethodType(new, layer)


def _is_bound(value: Any, layer: nn.Module, function: Any) -> bool:
    return isinstance(value, MethodType) and value.__self__ is layer and value.__func__ is function
