"""One forward pass of a model that is being explained: what its operations share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from altprop.ops.relevance import Call
from altprop.ops.relevance_flow import Flow, forget_constants, set_flow
from altprop.ops.weighted_sums import Layer, Parts, WeightedSum, WeightedSumRule

_KINDS: dict[str, type[nn.Module]] = {
    "linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d,
    "conv_transpose1d": nn.ConvTranspose1d, "conv_transpose2d": nn.ConvTranspose2d,
    "conv_transpose3d": nn.ConvTranspose3d,
    "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU,
    "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus, "prelu": nn.PReLU,
    "avg_pool1d": nn.AvgPool1d, "avg_pool2d": nn.AvgPool2d, "avg_pool3d": nn.AvgPool3d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d, "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_avg_pool3d": nn.AdaptiveAvgPool3d,
    "max_pool1d": nn.MaxPool1d, "max_pool2d": nn.MaxPool2d, "max_pool3d": nn.MaxPool3d,
    "adaptive_max_pool1d": nn.AdaptiveMaxPool1d, "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
    "adaptive_max_pool3d": nn.AdaptiveMaxPool3d,
    "batch_norm": nn.modules.batchnorm._BatchNorm, "layer_norm": nn.LayerNorm, "group_norm": nn.GroupNorm,
    "softmax": nn.Softmax,
}  # fmt: skip


class Assignment(Protocol):
    """Which operation has which rule: a composite, or anything like one."""

    @property
    def otherwise(self) -> str:
        """``"relevance"`` or ``"gradient"``: what operations hand back that are given no rule."""

    @property
    def attention(self) -> str:
        """``"attnlrp"``, or ``"cp"`` if attention weights are constants."""

    @property
    def stabiliser(self) -> float:
        """ε of sums, normalisations and products that are given no rule."""

    def rule_for(self, layer: Layer, kind: Any) -> Any:
        """The rule that an operation of a kind is given; None if it is given none."""


class Run:
    """What the operations of one forward pass share.

    Args:
        composite: which operation has which rule.
        default: the rule of layers with weights that the composite gives none.
        parts: the weights' parts, kept from run to run.
        strict: whether an operation without a rule is an error.
        report: whether every operation counts the relevance that goes through it.

    Attributes:
        inside: the names and modules that are running, the innermost last.
        calls: every operation that hands relevance back, in the order in which they ran.
        tokens: the integer inputs, whose relevance is asked for.
        embedded: the tokens that were looked up, each with its vectors.
    """

    explains = True  # by which a layer can tell that it runs for LRP

    def __init__(
        self,
        composite: Assignment,
        default: WeightedSumRule,
        parts: Parts,
        *,
        strict: bool = False,
        report: bool = False,
        warned: set[str] | None = None,
    ) -> None:
        self.composite, self.parts = composite, parts
        self._default, self._strict, self._report = default, strict, report
        self._warned = set() if warned is None else warned
        parts.check()
        self.inside: list[tuple[str, nn.Module]] = []
        self.calls: list[tuple[Layer, Call]] = []
        self.tokens: list[Tensor] = []
        self.embedded: list[tuple[Tensor, Tensor]] = []

    @property
    def gradients(self) -> bool:
        """Whether operations that the composite gives no rule keep their ordinary gradient."""
        return self.composite.otherwise == "gradient"

    @property
    def epsilon(self) -> float:
        """The stabiliser of sums, normalisations and products that the composite gives no rule."""
        return self.composite.stabiliser

    @property
    def constant_attention(self) -> bool:
        """Whether attention weights are taken as constants."""
        return self.composite.attention == "cp"

    def layer(self, function: Callable[..., Any]) -> Layer:
        """The operation that calls ``function`` now."""
        name, module = self.inside[-1]
        called = getattr(function, "__name__", type(function).__name__)
        called = called.strip("_") if called.endswith("__") else called.rstrip("_")
        return Layer(name, module, called, _KINDS.get(called))

    def add(self, layer: Layer, call: Call) -> None:
        """Take note of an operation that hands relevance back."""
        self.calls.append((layer, call))
        if self._report:
            call.watch()

    def rule_for(self, layer: Layer, kind: str) -> Any:
        """The rule that the composite gives an operation, None if it gives none."""
        return self.composite.rule_for(layer, kind)

    def embed(self, indices: Tensor, vectors: Tensor) -> Tensor:
        """``vectors``, to which relevance comes back if they were looked up for one of :attr:`tokens`."""
        source = next((tokens for tokens in self.tokens if _same_memory(tokens, indices)), None)
        if source is None:
            return vectors
        leaf = vectors.detach().requires_grad_()
        entry = leaf.clone()  # which the model may overwrite
        set_flow(entry, Flow(beyond_first=False))
        self.embedded.append((source, leaf))
        return entry

    def finish(self) -> None:
        """The forward pass is over: give each layer with weights its rule."""
        sums = [(layer, call) for layer, call in self.calls if isinstance(call, WeightedSum)]
        if sums:
            sums[-1][0].last = True
        for layer, call in sums:
            call.rule = self.rule_for(layer, "layer") or self._default
            call.label = repr(call.rule)

    def close(self) -> None:
        """Let go of all that was kept: operations and what is known of tensors refer to each other."""
        for _, call in self.calls:
            vars(call).clear()
        self.calls.clear()
        self.embedded.clear()
        self.inside.clear()
        forget_constants()

    def unseen(self, name: str) -> None:
        """A ``torch.autograd.Function`` has a way back of its own, which no rule can take the place of.

        Raises:
            RuntimeError: that is forbidden.
        """
        if self.gradients:
            return
        told = (
            f"The model calls {name}, a torch.autograd.Function, which LRP cannot see: it hands relevance back as it "
            f"would a gradient."
        )
        if self._strict:
            raise RuntimeError(f"{told} strict=True forbids that.")
        if name not in self._warned:
            self._warned.add(name)
            warnings.warn(f"{told} Write it with torch's functions, without detach().", stacklevel=2)

    def unknown(self, name: str) -> None:
        """An operation has no rule: its relevance will be the gradient times the input.

        Raises:
            RuntimeError: that is forbidden.
        """
        if self._strict:
            where = self.inside[-1][0]
            raise RuntimeError(
                f"LRP has no rule for {name}, called in {f'module {where!r}' if where else 'the model itself'}, and "
                f"strict=True forbids the gradient in its place. Write it with operations that altprop.inspect knows, "
                f"or drop strict."
            )
        if name not in self._warned and not torch.compiler.is_compiling():
            self._warned.add(name)
            warnings.warn(
                f"LRP has no rule for {name}: its relevance is the gradient times the input. altprop.inspect lists "
                f"every such operation.",
                stacklevel=2,
            )


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.numel() == b.numel()
