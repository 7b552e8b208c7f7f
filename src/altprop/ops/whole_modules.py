"""Modules that count as one operation (activations, normalisations), whatever functions they are made of.

Some packages spread an idea over many torch functions: GPT-2's GELU over five, the RMSNorm of Llama and others over
six. A rule for each part would not be the rule for the whole.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

Kind = Literal["activation", "mixture"]

# One value in, one value out. Those of Hugging Face's activations that torch has too call torch's.
_ACTIVATIONS = {
    f"transformers.activations.{name}Activation"
    for name in ("NewGELU", "FastGELU", "QuickGELU", "AccurateGELU", "Laplace", "ReLUSquared", "SqrtSoftplus")
}

# Names of x · rsqrt(mean(x²)), of which every architecture has its own copy.
_NORMALISATIONS = ("RMSNorm", "T5LayerNorm", "L2Norm")


def kind_of(module: nn.Module) -> Kind | None:
    """The kind of operation that ``module`` is as a whole, if its parts must be ignored.

    A root-mean-square normalisation is known by its name's ending, in whatever package, and by what it holds: one
    vector of scales at most, and no further module. Torch's own are seen as one function anyway.

    Returns:
        ``"activation"``, ``"mixture"`` for a normalisation, or None.

    Example:
        >>> class MyRMSNorm(nn.Module):
        ...     pass
        >>> kind_of(MyRMSNorm()), kind_of(nn.Linear(2, 2)), kind_of(nn.RMSNorm(2))
        ('mixture', None, None)
    """
    classes = type(module).__mro__
    if any(f"{cls.__module__}.{cls.__qualname__}" in _ACTIVATIONS for cls in classes):
        return "activation"
    if isinstance(module, nn.RMSNorm) or not any(cls.__name__.endswith(_NORMALISATIONS) for cls in classes):
        return None
    scales = list(module.parameters())
    plain = not list(module.children()) and len(scales) <= 1 and all(scale.dim() == 1 for scale in scales)
    return "mixture" if plain else None
