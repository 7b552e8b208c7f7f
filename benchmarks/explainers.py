"""One explanation by each composite and each package, the way its users would write it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

import altprop
from altprop.explain import composites

TARGET = 3
LOW, HIGH = -3.0, 3.0  # of the pixels, for the z-box rule
Explanation = Callable[[], Tensor]

COMPOSITES: dict[str, Callable[[], composites.Composite]] = {
    "epsilon": composites.epsilon,
    "epsilon_plus_flat": composites.epsilon_plus_flat,
    "epsilon_gamma_box": lambda: composites.epsilon_gamma_box(LOW, HIGH),
    "epsilon_alpha2_beta1": composites.epsilon_alpha2_beta1,
}
PACKAGES = ("altprop", "zennit", "autolrp", "captum")


def available() -> list[str]:
    """``package/composite`` of all that can be measured here, composite by composite."""
    installed = [package for package in PACKAGES if find_spec(package)]
    pairs = [(package, name) for name in COMPOSITES for package in installed if _has(package, name)]
    return [f"{package}/{name}" for package, name in pairs]


def _has(package: str, composite: str) -> bool:
    # captum chooses rules layer by layer, and has neither flat, z-box nor αβ; autoLRP has no flat rule.
    return composite == "epsilon" if package == "captum" else (package, composite) != ("autolrp", "epsilon_plus_flat")


def gradient(model: nn.Module, x: Tensor) -> Explanation:
    """The plain gradient of the input, and of nothing else."""

    def explain() -> Tensor:
        inputs = x.clone().requires_grad_()
        return torch.autograd.grad(model(inputs)[:, TARGET].sum(), inputs)[0]

    return explain


def explanation_of(name: str, model: nn.Module, x: Tensor) -> Explanation:
    """A function that explains the batch ``x`` once.

    Args:
        name: one of :func:`available`.
        model: for this explanation alone: zennit's hooks stay on it.
        x: (batch, 3, height, width).
    """
    package, composite = name.split("/")
    return {"altprop": _altprop, "zennit": _zennit, "captum": _captum, "autolrp": _autolrp}[package](
        model, x, composite
    )


def _altprop(model: nn.Module, x: Tensor, composite: str) -> Explanation:
    lrp = altprop.LRP(model, COMPOSITES[composite]())
    return lambda: lrp.attribute(x, target=TARGET)


def _zennit(model: nn.Module, x: Tensor, composite: str) -> Explanation:
    """With its canonizers. The composite is registered once, as for many batches in a row: that is not timed."""
    from zennit.composites import COMPOSITES as THEIRS  # noqa: PLC0415
    from zennit.composites import LayerMapComposite, layer_map_base  # noqa: PLC0415
    from zennit.rules import Epsilon  # noqa: PLC0415
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer  # noqa: PLC0415
    from zennit.types import Linear  # noqa: PLC0415

    canonizers = [ResNetCanonizer() if type(model).__name__ == "ResNet" else VGGCanonizer()]
    if composite == "epsilon":
        theirs = LayerMapComposite([*layer_map_base(), (Linear, Epsilon())], canonizers=canonizers)
    else:
        bounds = {"low": torch.full_like(x, LOW), "high": torch.full_like(x, HIGH)} if "box" in composite else {}
        theirs = THEIRS[composite](canonizers=canonizers, **bounds)
    theirs.register(model)

    def explain() -> Tensor:
        inputs = x.clone().requires_grad_()
        output = model(inputs)
        start = torch.zeros_like(output)
        start[:, TARGET] = output.detach()[:, TARGET]
        return torch.autograd.grad(output, inputs, start)[0]

    return explain


def _captum(model: nn.Module, x: Tensor, composite: str) -> Explanation:
    """Its LRP sees modules only: the sums of a residual network keep their gradient, and are not explained."""
    from captum.attr import LRP  # noqa: PLC0415

    warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", UserWarning)
    warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients", UserWarning)
    lrp = LRP(model)
    return lambda: lrp.attribute(x.clone(), target=TARGET)


def _autolrp(model: nn.Module, x: Tensor, composite: str) -> Explanation:
    import autolrp  # noqa: PLC0415

    warnings.filterwarnings("ignore", ".* runs as .* for LRP: the input is not modified in place", UserWarning)
    rules = {
        "epsilon": {},
        "epsilon_gamma_box": {
            "input_conv": ("zbox", {"low": LOW, "high": HIGH}),
            "ConvolutionBackward": ("gamma", {"gamma": 0.25}),
        },
        "epsilon_alpha2_beta1": {"ConvolutionBackward": ("alpha_beta", {"alpha": 2.0, "beta": 1.0})},
    }
    config = autolrp.LRPConfig(rule={**autolrp.BASE, **rules[composite]}, eps=1e-6)

    def explain() -> Tensor:
        inputs = autolrp.tensor(x)
        model(inputs)[:, TARGET].sum().lrp(config=config)
        return inputs.relevance

    return explain
