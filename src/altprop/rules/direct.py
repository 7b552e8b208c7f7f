"""Direct rules: the network is cut into blocks, and no credit passes between them."""

from torch import Tensor, nn

from altprop.rule import Attachment, Rule

_HANDLE = "_altprop_cut"


class Shallow(Rule):
    """Train the last parametrised layer alone: the control that every other rule must beat.

    The hidden layers keep their initial values, so the network is a linear read-out of random features. A rule that
    does no better has taught the hidden layers nothing.

    The last layer is the last module, in the order of ``model.named_modules()``, that holds a weight matrix (a
    parameter of two or more dimensions); normalisation layers do not count.
    """

    def _install(self, model: nn.Module) -> None:
        last = last_layer(model)
        last.__dict__[_HANDLE] = last.register_forward_pre_hook(_Cut(model))

    def _uninstall(self, model: nn.Module) -> None:
        for module in model.modules():
            handle = module.__dict__.pop(_HANDLE, None)
            if handle is not None:
                handle.remove()

    def __repr__(self) -> str:
        return "Shallow()"


def last_layer(model: nn.Module) -> nn.Module:
    """The last module that holds a weight matrix of its own.

    Raises:
        ValueError: no module of ``model`` has a parameter of two or more dimensions.
    """
    for module in reversed(list(model.modules())):
        if any(parameter.dim() >= 2 for parameter in module.parameters(recurse=False)):
            return module
    raise ValueError(f"{type(model).__name__} has no layer with a weight matrix: there is nothing to train.")


class _Cut:
    """A forward pre-hook that lets no credit past a layer while ``model``'s attachment is active."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, module: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
        attachment = Attachment.of(self.model)
        if attachment is None or not attachment.active:
            return inputs
        return tuple(value.detach() if isinstance(value, Tensor) else value for value in inputs)
