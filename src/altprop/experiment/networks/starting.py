"""What a network is before training: weights of zero, and layers that stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from altprop.experiment.errors import InputError, unknown


def zero_linear_layers(network: nn.Module) -> None:
    """Set the weights of all fully connected layers to zero, and leave their biases as they are.

    Reference:
        Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016; Frenkel et al.,
        "Learning without feedback", 2021, whose code calls it ``fc_zero_init``.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)


def freeze(network: nn.Module, patterns: Iterable[str]) -> None:
    """Freeze layers: no update reaches their parameters.

    Args:
        network: whose layers.
        patterns: names of modules, as in ``named_modules()``, with wildcards if need be; what is in them is meant too.

    Raises:
        InputError: one of them names nothing that has parameters, or nothing is left to train.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> freeze(network, ["0"])
        >>> [parameter.requires_grad for parameter in network.parameters()]
        [False, False, True, True]
    """
    layers = {
        name: module for name, module in network.named_modules() if name and next(module.parameters(), None) is not None
    }
    for pattern in patterns:
        meant = [name for name in layers if fnmatchcase(name, pattern)]
        if not meant:
            raise InputError(f"model.frozen: {unknown('layer with parameters called', pattern, layers)}")
        for name in meant:
            layers[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError("model.frozen: all layers are frozen, so that there is nothing to train: leave some out.")
