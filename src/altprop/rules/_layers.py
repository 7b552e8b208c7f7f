"""Find the layers with weight matrices of a network, and where to cut it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

_NORMALISATION = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
_WEIGHTED = (nn.Linear, nn.Bilinear, _ConvNd, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.RNNCellBase)


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As ``model.named_modules()``, without parametrizations, which are no layers."""
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in inside:
            continue
        if is_parametrized(module):
            inside.update(module.parametrizations.modules())
        yield name, module


def is_layer(module: nn.Module) -> bool:
    """Whether a module has a weight matrix of its own, also as a parametrization, and is no normalisation."""
    if isinstance(module, _NORMALISATION):
        return False
    if isinstance(module, _WEIGHTED) or any(_is_matrix(own) for own in module.parameters(recurse=False)):
        return True
    made = module.parametrizations if is_parametrized(module) else None
    return isinstance(made, nn.Module) and any(_is_matrix(parameter) for parameter in made.parameters())


def _is_matrix(parameter: nn.Parameter) -> bool:
    return is_lazy(parameter) or parameter.dim() >= 2


def last_layer(model: nn.Module) -> nn.Module:
    """The last module, in the order of ``model.modules()``, that holds a weight matrix.

    Raises:
        ValueError: there is none.
    """
    for _, module in reversed(list(named_modules(model))):
        if is_layer(module):
            return module
    raise ValueError(f"{type(model).__name__} has no layer with a weight matrix: there is nothing to train.")


def first_layer(module: nn.Module) -> nn.Module | None:
    """The first module in ``module``, itself included, that holds a weight matrix."""
    return next((inner for _, inner in named_modules(module) if is_layer(inner)), None)


def size_of_output(model: nn.Module) -> int:
    """The number of outputs (for a convolution: of channels) of the last layer."""
    layer = last_layer(model)
    for attribute in ("out_channels", "out_features"):
        if isinstance(size := getattr(layer, attribute, None), int):
            return size
    return next(parameter.shape[0] for parameter in layer.parameters() if parameter.dim() >= 2)


def cut_points(model: nn.Module, blocks: tuple[str, ...] | None) -> list[tuple[str, nn.Module]]:
    """The modules at whose inputs the network is cut: those named, or by default all layers within it.

    Raises:
        ValueError: a name is that of no submodule.
    """
    if blocks is None:
        return [(name, module) for name, module in named_modules(model) if is_layer(module) and module is not model]
    return [(name, named(model, name, "blocks=")) for name in blocks]


def named(model: nn.Module, name: str, argument: str) -> nn.Module:
    """The submodule that an argument of a rule names.

    Raises:
        ValueError: there is none.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in modules:
        raise ValueError(
            f"{type(model).__name__} has no submodule {name!r}, which {argument} names. It has: "
            f"{', '.join(list(modules)[1:12])}."
        )
    return modules[name]


def holders_of_all_layers(model: nn.Module) -> list[nn.Module]:
    """The submodules that hold every layer of the model, such as ``self.net`` of a module that is a training loop."""
    layers = {module for _, module in named_modules(model) if is_layer(module)}
    submodules = [module for module in model.modules() if module is not model and not is_layer(module)]
    return [module for module in submodules if layers <= set(module.modules())]
