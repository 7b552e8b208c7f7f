"""Layer-wise feedback propagation: learning by distributing a reward in proportion to contributions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from altprop.ops.lfp.basics import activation, ruled
from altprop.ops.lfp.neurons import NEURON_RULES, NEURON_TABLE
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.lfp.table import LFP_TABLE, MODULE_RULES, LFPInterceptor
from altprop.ops.lfp.updates import weighted_sum_rule
from altprop.ops.names import TRANSPOSED_CONVOLUTIONS, WEIGHTED_SUMS, OpRule, resolve
from altprop.ops.whole_modules import kind_of
from altprop.rule import Attachment, Rule
from altprop.rules._layers import named
from altprop.rules._lfp_model import install, uninstall

Update = Literal["reward", "hebbian", "oja"]


class LFP(Rule):
    """Layer-wise feedback propagation (LFP): credit flows in proportion to contribution, without derivatives.

    For a layer z = W a + b with reward R_j at output j, LFP-ε hands back and updates by

        R_i   = Σ_j a_i w_ij R_j / (z_j + ε·sign z_j)                          (sign 0 := 1)
        Δw_ij = |w_ij| · a_i · R_j / (z_j + ε·sign z_j)

    while an activation passes R unchanged. Written for g = R / a this is backprop with the slope φ'(z) replaced by
    the secant φ(z) / (z + ε·sign z), and the update is |w| times the weight gradient of that pass: it costs what
    backprop costs. After ``loss.backward()``, ``.grad`` holds −Δw, ready for any optimizer. A differentiable loss works
    as it is (cross-entropy is the paper's softmax reward); :mod:`altprop.rewards` has objectives without derivative.

    Args:
        epsilon: the stabiliser ε ≥ 0. At 0 the linear operations are left alone and ReLU is its own rule.
        gamma: γ ≥ 0 of LFP-γ: credit flows through the weights w + γ·w⁺ (for positive outputs; w + γ·w⁻ for negative
            ones) of linear and convolutional layers; the update stays that of LFP-ε.
        update: ``"reward"`` for the update above; ``"hebbian"`` for |w|·a·z·R; ``"oja"`` for |w|·z·(a − z·w)·R, both
            for linear and convolutional layers. The credit that flows on is the same.
        minimum_scale: the update is scaled by max(|w|, minimum_scale), so that weights at zero can move too.
        activations: functions, and classes of modules, of your own that are activations (one value in, one value out,
            with or without a derivative). torch's and altprop's are known already.
        output: the name of the submodule whose output is the network's, if the model computes its loss itself: what it
            does after that module returned is the loss, and has its ordinary gradient; a warning names the parameters
            that it uses. By default the model's output.
        strict: raise on an operation that has no rule; otherwise it keeps its ordinary gradient, and warns once.

    Raises:
        ValueError: a parameter out of its range.

    Example:
        >>> import altprop, torch
        >>> from torch.nn import functional as F
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), altprop.nn.Step(), torch.nn.Linear(8, 3))
        >>> attachment = altprop.LFP().attach(model)
        >>> F.cross_entropy(model(torch.randn(5, 4)), torch.tensor([0, 1, 2, 0, 1])).backward()
        >>> bool(model[0].weight.grad.any())
        True

    Reference:
        Weber et al., "Efficient and Flexible Neural Network Training through Layer-wise Feedback Propagation",
        TMLR 2025: the LFP-ε rule and its update; the Hebbian and Oja forms are those of its published code.
    """

    def __init__(
        self,
        epsilon: float = 1e-6,
        *,
        gamma: float = 0.0,
        update: Update = "reward",
        minimum_scale: float = 0.0,
        activations: Iterable[type[nn.Module] | Callable[..., Any]] = (),
        output: str | None = None,
        strict: bool = False,
    ) -> None:
        for name, value in {"epsilon": epsilon, "gamma": gamma, "minimum_scale": minimum_scale}.items():
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"LFP's {name} must be a finite number >= 0, got {value!r}.")
        if update not in ("reward", "hebbian", "oja"):
            raise ValueError(f"LFP's update must be 'reward', 'hebbian' or 'oja', got {update!r}.")
        if gamma and update != "reward":
            raise ValueError(f"LFP's gamma changes how credit flows past the {update!r} update: choose one of the two.")
        self.epsilon = epsilon
        self.gamma = gamma
        self.update = update
        self.minimum_scale = minimum_scale
        self.activations = tuple(activations)
        self.output = output
        self.strict = strict
        self._prepare()

    def __getstate__(self) -> dict[str, Any]:
        # The table holds torch functions, which may not pickle: rebuild it.
        return {name: value for name, value in vars(self).items() if name != "_table"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def _prepare(self) -> None:
        self._table = self._make_table()

    def _make_table(self) -> dict[Callable[..., Any] | str, OpRule]:
        own = [function for function in self.activations if not isinstance(function, type)]
        weighted_sum = weighted_sum_rule(self.update, self.gamma)
        changed: dict[Callable[..., Any] | str, OpRule] = dict.fromkeys(own, ruled(activation))
        if weighted_sum is not None:
            changed |= resolve(
                dict.fromkeys((*WEIGHTED_SUMS, *TRANSPOSED_CONVOLUTIONS), ruled(weighted_sum, is_layer=True))
            )
        return LFP_TABLE | changed if changed else LFP_TABLE

    def _interceptor(
        self, attachment: Attachment, arguments: Iterable[Tensor] = (), acted: Callable[[Tensor], None] | None = None
    ) -> LFPInterceptor:
        lfp = LFPPass(self.epsilon, self.minimum_scale, self.gamma, arguments, acted)
        return LFPInterceptor(self._table, lfp, partial(self._unknown, attachment), attachment.observer)

    def _unknown(self, attachment: Attachment, name: str) -> None:
        if torch.compiler.is_compiling():
            _tell_while_tracing(attachment, name)
        elif attachment.observer is None:
            self._tell_of_unknown(attachment, name)

    def _tell_of_unknown(self, attachment: Attachment, name: str) -> None:
        if self.strict:
            raise RuntimeError(
                f"{self!r} has no rule for {name}, and strict=True forbids the ordinary gradient. If it is an "
                f"activation, name it in LFP(activations=...); otherwise drop strict."
            )
        if name not in attachment.warned:
            attachment.warned.add(name)
            warnings.warn(
                f"{self!r} has no rule for {name}: it keeps its ordinary gradient. altprop.inspect lists every such "
                f"operation.",
                stacklevel=2,
            )

    def _install(self, model: nn.Module) -> None:
        self._check_neurons(model)
        _warn_of_zero_parameters(model, self.minimum_scale)
        if self.output is not None:
            named(model, self.output, "output=")
        rules = {name: self._module_rule(module) for name, module in model.named_modules() if module is not model}
        install(model, {name: rule for name, rule in rules.items() if rule is not None}, self.output or "")

    def _uninstall(self, model: nn.Module) -> None:
        uninstall(model)

    def _check_neurons(self, model: nn.Module) -> None:
        """Refuse spiking neurons under a variant: these need a weighted sum's own z, which neurons do not use."""
        if self.update == "reward" and not self.gamma:
            return
        for name, module in model.named_modules():
            if self._module_rule(module) in NEURON_RULES.values():
                raise ValueError(
                    f"{self!r} is not for spiking neurons, such as {name!r}: through time there is LFP-ε alone. Leave "
                    f"out gamma and update."
                )

    def _module_rule(self, module: nn.Module) -> OpRule | None:
        if isinstance(module, tuple(own for own in self.activations if isinstance(own, type))):
            return MODULE_RULES["activation"]
        named = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(module).__mro__)
        neuron = next((NEURON_TABLE[name] for name in named if name in NEURON_TABLE), None)
        if neuron is not None:
            return NEURON_RULES[neuron]
        kind = kind_of(module)
        return None if kind is None else MODULE_RULES[kind]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _tell_while_tracing(attachment: Attachment, name: str) -> None:
    """What is told of an operation without a rule, by code that ``torch.compile`` traces: runs then, and then alone."""
    attachment.rule._tell_of_unknown(attachment, name)  # type: ignore[attr-defined]


def _warn_of_zero_parameters(model: nn.Module, minimum_scale: float) -> None:
    if minimum_scale:
        return
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not is_lazy(parameter) and not parameter.is_meta and not parameter.any()
    ]
    if dead:
        names = ", ".join(dead[:8]) + (f" and {len(dead) - 8} more" if len(dead) > 8 else "")
        warnings.warn(
            f"LFP scales each update by the weight's magnitude, so parameters that are all zero never move: {names}. "
            f"Initialise them otherwise, or use LFP(minimum_scale=1e-3).",
            stacklevel=4,
        )
