"""Find quantised layers, whose weights are stored as codes: no rule can assign credit to those."""

from __future__ import annotations

from torch import Tensor, nn


def quantised_layers(model: nn.Module) -> list[str]:
    """The names of the layers whose weights are not plain floating-point numbers, each with its class.

    They are known by what they hold, so that no package that makes them has to be there: a ``weight`` or ``qweight``
    of integers or of 8 bits, or one that carries the state of its quantisation, as those of bitsandbytes and torchao.

    Example:
        >>> class Linear4bit(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("qweight", torch.zeros(8, dtype=torch.uint8))
        >>> import torch
        >>> quantised_layers(nn.Sequential(nn.Linear(2, 2), Linear4bit()))
        ['1 (Linear4bit)']
    """
    return [
        f"{name or 'the model itself'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if _is_quantised(module)
    ]


def _is_quantised(module: nn.Module) -> bool:
    package = type(module).__module__
    if package.startswith("torch.ao.nn.") and ".quantized" in package:
        return not type(module).__name__.endswith("PackedParams")  # what its layers keep their codes in
    held = module._parameters | module._buffers
    return any(_holds_codes(held.get(name)) for name in ("weight", "qweight"))


def _holds_codes(weight: Tensor | None) -> bool:
    if weight is None:
        return False
    wrapped = hasattr(weight, "quant_state") or type(weight).__module__.startswith("torchao.")
    return wrapped or not (weight.is_floating_point() or weight.is_complex()) or weight.dtype.itemsize == 1
