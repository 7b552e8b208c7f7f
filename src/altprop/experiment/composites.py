"""The composites of layer-wise relevance propagation by name, as they are written on a command line."""

from __future__ import annotations

from inspect import signature

from torch import Tensor, nn

from altprop.experiment.errors import InputError
from altprop.experiment.labels import base_name, make_labelled
from altprop.explain import COMPOSITES, CONVOLUTIONS
from altprop.explain.composites import Composite

_FOR_ATTENTION = {"attn_lrp", "cp_lrp"}


def needs_patterns(name: str) -> bool:
    """Whether a composite needs patterns of the data, which cannot be written in a label."""
    return name in COMPOSITES and "patterns" in signature(COMPOSITES[name]).parameters


def make_composite(label: str, low: float | Tensor | None = None, high: float | Tensor | None = None) -> Composite:
    """Make the composite that a label describes.

    Args:
        label: a name, with arguments after a colon if need be: ``"epsilon_plus"``, ``"epsilon_gamma_box:gamma=0.5"``.
        low: the lowest value that an input can have, for composites that need it and labels that do not say.
        high: the highest value.

    Raises:
        InputError: there is no such composite, it has no such argument or lacks one, or it refuses its value.

    Example:
        >>> make_composite("epsilon_gamma_box:gamma=0.5", low=0.0, high=1.0).name
        'epsilon_gamma_box'
    """
    if needs_patterns(base_name(label)):
        raise InputError(
            f"The composite {base_name(label)!r} needs patterns fitted to the data, which cannot be written here. In "
            f"Python: altprop.LRP(model, composite=altprop.explain.composites.{base_name(label)}(patterns))."
        )
    bounds = {name: value for name, value in (("low", low), ("high", high)) if value is not None}
    return make_labelled("composite", label, COMPOSITES, **bounds)


def composites_for(model: nn.Module) -> tuple[str, ...]:
    """The names of all composites that make sense for a model with no arguments but the bounds of its inputs.

    Those for transformers are left out where there is no attention, and those that have a rule for convolutions where
    there is none: they are the same as ``epsilon`` then, or spread relevance evenly.
    """
    modules = list(model.modules())
    attends = any(isinstance(module, nn.MultiheadAttention) for module in modules)
    convolves = any(isinstance(module, CONVOLUTIONS) for module in modules)
    return tuple(
        name
        for name in COMPOSITES
        if not needs_patterns(name)
        and (attends or name not in _FOR_ATTENTION)
        and (convolves or not name.startswith("epsilon_"))
    )
