"""Plain backpropagation: the baseline that every other rule is measured against."""

from torch import nn

from altprop.rule import Rule


class Backprop(Rule):
    """Backpropagation itself. Attaching it changes nothing and costs nothing.

    It lets code that loops over rules treat the baseline like the rest.
    """

    _takes_quantised_layers = True

    def _install(self, model: nn.Module) -> None:
        pass

    def _uninstall(self, model: nn.Module) -> None:
        pass

    def __repr__(self) -> str:
        return "Backprop()"
