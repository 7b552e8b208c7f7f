"""Composites: which operation of a network gets which rule, as data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import Tensor, nn

from altprop._names import did_you_mean
from altprop.explain.gradient_rules import BetaSmooth, DeconvNet, GuidedBackprop, PatternAttribution, PatternNet
from altprop.explain.input_rules import Flat, ZBox
from altprop.explain.rules import (
    AlphaBeta,
    Epsilon,
    Gamma,
    Kind,
    LayerRule,
    RelevanceRule,
    ZPlus,
)
from altprop.ops import module_kinds
from altprop.ops.lrp.layer import Layer
from altprop.ops.module_kinds import kind_of_class

Predicate = type[nn.Module] | tuple[type[nn.Module], ...] | str | Callable[[Layer], bool]
Pairs = Iterable[tuple[Predicate, RelevanceRule]]

CONVOLUTIONS = (*module_kinds.CONVOLUTIONS, *module_kinds.TRANSPOSED_CONVOLUTIONS)
"""The classes of convolutions, as a predicate."""
LAYERS = (nn.Linear, *CONVOLUTIONS)
"""The classes of all layers with weights, as a predicate."""


def first(layer: Layer) -> bool:
    """Predicate: the layer with weights that the input reaches first (each input's, if there are several)."""
    return layer.first


def last(layer: Layer) -> bool:
    """Predicate: the layer with weights that runs last."""
    return layer.last


def both(*predicates: Predicate) -> Callable[[Layer], bool]:
    """Predicate: all of these, as in ``both(first, nn.Conv2d)``."""
    return lambda layer: all(matches(predicate, layer) for predicate in predicates)


def matches(predicate: Predicate, layer: Layer) -> bool:
    """Whether ``predicate`` holds for ``layer``."""
    if isinstance(predicate, str):
        return fnmatchcase(layer.name, predicate)
    if isinstance(predicate, type | tuple):
        return layer.is_a(predicate)
    return bool(predicate(layer))


@dataclass(frozen=True)
class Composite:
    """Assigns rules to operations: that of the first pair whose predicate matches and whose rule fits the kind.

    A predicate is a class of modules (also met by calls of the function that does the same), a tuple of them, a pattern
    of module names as in a shell (``"features.*"``), or a function of a :class:`Layer`, such as :func:`first`.

    Args:
        pairs: predicates and rules.
        otherwise: what operations do that no pair matches: ``"relevance"``: layers with weights by :class:`Epsilon`,
            sums and averages in proportion, activations pass, batch norms are one with the layer before them;
            ``"gradient"``: all hand their ordinary gradient back.
        seed: what starts at the explained output: its ``"value"``, or ``"one"``.
        attention: ``"attnlrp"``: half of a product's relevance to each factor, a softmax by its first-order term;
            ``"cp"``: attention weights are taken as constants.
        name: for the reader.
        stabiliser: ε ≥ 0 of sums, averages, normalisations and products, where no pair gives them a rule.

    Raises:
        TypeError: a pair is none.
        ValueError: the stabiliser is negative or not finite, or a rule is none for the class of modules it is given to.

    Example:
        >>> import altprop
        >>> from altprop.explain import Epsilon, Flat, Gamma, LAYERS, first
        >>> composite = altprop.explain.Composite([(first, Flat()), ("features.*", Gamma(0.5)), (LAYERS, Epsilon())])
    """

    pairs: Pairs = ()
    otherwise: Literal["relevance", "gradient"] = "relevance"
    seed: Literal["value", "one"] = "value"
    attention: Literal["attnlrp", "cp"] = "attnlrp"
    name: str = ""
    stabiliser: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 <= self.stabiliser < float("inf"):
            raise ValueError(f"A composite's stabiliser must be a finite number >= 0, got {self.stabiliser!r}.")
        pairs = tuple(self.pairs)
        for pair in pairs:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], RelevanceRule)):
                raise TypeError(f"A composite is made of pairs (predicate, rule), got {pair!r}.")
            if not isinstance(pair[0], str | type | tuple) and not callable(pair[0]):
                raise TypeError(
                    f"A predicate is a class of modules, a tuple of them, a name pattern or a function, got "
                    f"{pair[0]!r}."
                )
            _check_fits(*pair)
        object.__setattr__(self, "pairs", pairs)

    def rule_for(self, layer: Layer, kind: Kind) -> RelevanceRule | None:
        """The rule that the pairs assign to an operation; None if none matches."""
        pairs = (rule for predicate, rule in self.pairs if kind in rule.applies_to and matches(predicate, layer))
        return next(pairs, None)

    def idle_pairs(self, model: nn.Module, asked: list[tuple[Layer, str]]) -> list[str]:
        """Warnings about pairs whose predicate matched no operation of ``model``.

        Args:
            model: what is explained.
            asked: the operations of a forward pass that can have a rule, and of which kind each is.
        """
        ran = {layer.name for layer, _ in asked}
        told = []
        for predicate, rule in self.pairs:
            fitting = [layer for layer, kind in asked if kind in rule.applies_to]
            if any(matches(predicate, layer) for layer in fitting):
                continue
            if isinstance(predicate, str):
                told += _idle_pattern(predicate, rule, model, ran)
            elif not _is_known(predicate) and any(matches(predicate, layer) for layer, _ in asked):
                told.append(
                    f"The composite's rule {rule!r} holds for none of the operations that its predicate {predicate!r} "
                    f"means: it is a rule for {_listed(rule)}."
                )
        return told


def _idle_pattern(pattern: str, rule: RelevanceRule, model: nn.Module, ran: set[str]) -> list[str]:
    meant = [name for name, _ in model.named_modules() if fnmatchcase(name, pattern)]
    if not meant:
        names = [name for name, _ in model.named_modules() if name]
        hint = did_you_mean(pattern, names)
        return [f"The pattern {pattern!r} of the composite matches no module of the model.{hint}"]
    within = [name for name in ran if name.startswith(tuple(f"{outer}." for outer in meant))]
    if not within and not ran.intersection(meant):
        return []  # they did not run
    hint = f" For the modules within: {pattern + '.*'!r}." if within else ""
    return [
        f"The composite's rule {rule!r} holds for nothing that the modules {pattern!r} compute: it is a rule for "
        f"{_listed(rule)}.{hint}"
    ]


def _is_known(predicate: Predicate) -> bool:
    """Whether it names classes of torch, which were checked when the composite was made."""
    classes = predicate if isinstance(predicate, tuple) else (predicate,)
    return all(isinstance(cls, type) and kind_of_class(cls) is not None for cls in classes)


def _listed(rule: RelevanceRule) -> str:
    words = {
        "layer": "layers with weights", "activation": "activations", "sum": "sums and average pools",
        "pool": "max pools", "normalisation": "normalisations", "softmax": "softmaxes",
    }  # fmt: skip
    return ", ".join(words[kind] for kind in words if kind in rule.applies_to) or "nothing"


def _check_fits(predicate: Predicate, rule: RelevanceRule) -> None:
    """Check that a rule can be one for modules of the classes that it is given to."""
    classes = [cls for cls in (predicate if isinstance(predicate, tuple) else (predicate,)) if isinstance(cls, type)]
    for cls in classes:
        kind = kind_of_class(cls)
        if kind is not None and kind not in rule.applies_to:
            raise ValueError(
                f"{rule!r} cannot be the rule of {cls.__name__}: it is a rule for {_listed(rule)}. Leave the pair out."
            )


def _composite(name: str, pairs: Pairs, **options: Any) -> Composite:
    return Composite(pairs, name=name, **options)


def epsilon(epsilon: float = 1e-6, stabiliser: float = 1e-6) -> Composite:
    """:class:`Epsilon` for all layers with weights."""
    return _composite("epsilon", [(LAYERS, Epsilon(epsilon))], stabiliser=stabiliser)


def epsilon_plus(epsilon: float = 1e-6, stabiliser: float = 1e-6) -> Composite:
    """:class:`ZPlus` for convolutions, :class:`Epsilon` for linear layers."""
    return _composite("epsilon_plus", _linear_and(ZPlus(epsilon=stabiliser), epsilon), stabiliser=stabiliser)


def epsilon_plus_flat(epsilon: float = 1e-6, stabiliser: float = 1e-6) -> Composite:
    """:class:`Flat` for the first layer, :class:`ZPlus` for other convolutions, :class:`Epsilon` for linear layers."""
    pairs = [(both(first, LAYERS), Flat(stabiliser)), *_linear_and(ZPlus(epsilon=stabiliser), epsilon)]
    return _composite("epsilon_plus_flat", pairs, stabiliser=stabiliser)


def epsilon_gamma_box(
    low: float | Tensor, high: float | Tensor, epsilon: float = 1e-6, gamma: float = 0.25, stabiliser: float = 1e-6
) -> Composite:
    """:class:`ZBox` for the first convolution, :class:`Gamma` for others, :class:`Epsilon` for linear layers.

    Args:
        low: the lowest value that an input can have: a number, or a tensor that broadcasts to one input.
        high: the highest value.
        epsilon: of the linear layers.
        gamma: of the convolutions.
        stabiliser: ε of the convolutions, of sums and of averages.
    """
    box = (both(first, CONVOLUTIONS), ZBox(low, high, stabiliser))
    pairs = [box, *_linear_and(Gamma(gamma, epsilon=stabiliser), epsilon)]
    return _composite("epsilon_gamma_box", pairs, stabiliser=stabiliser)


def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabiliser: float = 1e-6) -> Composite:
    """:class:`AlphaBeta` with α = 2 and β = 1 for convolutions, :class:`Epsilon` for linear layers."""
    pairs = _linear_and(AlphaBeta(2.0, 1.0, epsilon=stabiliser), epsilon)
    return _composite("epsilon_alpha2_beta1", pairs, stabiliser=stabiliser)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, stabiliser: float = 1e-6) -> Composite:
    """:func:`epsilon_alpha2_beta1` with :class:`Flat` for the first layer."""
    pairs = [(both(first, LAYERS), Flat(stabiliser)), *_linear_and(AlphaBeta(2.0, 1.0, epsilon=stabiliser), epsilon)]
    return _composite("epsilon_alpha2_beta1_flat", pairs, stabiliser=stabiliser)


def alpha1_beta0(epsilon: float = 1e-6, stabiliser: float = 1e-6) -> Composite:
    """:class:`AlphaBeta` with α = 1 and β = 0 for all layers with weights."""
    return _composite("alpha1_beta0", [(LAYERS, AlphaBeta(1.0, 0.0, epsilon=epsilon))], stabiliser=stabiliser)


def excitation_backprop(stabiliser: float = 1e-6) -> Composite:
    """Excitation backprop (Zhang et al., 2016): :class:`ZPlus` for all layers, starting from one."""
    return _composite("excitation_backprop", [(LAYERS, ZPlus(epsilon=stabiliser))], seed="one", stabiliser=stabiliser)


def attn_lrp(epsilon: float = 1e-6, gamma: float = 0.0, stabiliser: float = 1e-6) -> Composite:
    """AttnLRP for transformers (Achtibat et al., ICML 2024).

    Args:
        epsilon: of all layers with weights.
        gamma: γ of convolutions and linear layers, which helps vision transformers; 0 for language models.
        stabiliser: ε of sums, normalisations and products.
    """
    return _composite("attn_lrp", [(LAYERS, _transformer_rule(epsilon, gamma))], stabiliser=stabiliser)


def cp_lrp(epsilon: float = 1e-6, gamma: float = 0.0, stabiliser: float = 1e-6) -> Composite:
    """CP-LRP for transformers (Ali et al., ICML 2022): as :func:`attn_lrp`, with attention weights as constants.

    Args:
        epsilon: of all layers with weights.
        gamma: γ of convolutions and linear layers.
        stabiliser: ε of sums, normalisations and products.
    """
    pairs = [(LAYERS, _transformer_rule(epsilon, gamma))]
    return _composite("cp_lrp", pairs, attention="cp", stabiliser=stabiliser)


def _transformer_rule(epsilon: float, gamma: float) -> LayerRule:
    return Gamma(gamma, epsilon=epsilon) if gamma else Epsilon(epsilon)


def gradient() -> Composite:
    """The plain gradient of the explained output."""
    return _composite("gradient", [], otherwise="gradient", seed="one")


def guided_backprop() -> Composite:
    """Guided backprop: the gradient with :class:`GuidedBackprop` at every ReLU."""
    return _composite("guided_backprop", [(nn.ReLU, GuidedBackprop())], otherwise="gradient", seed="one")


def deconvnet() -> Composite:
    """The gradient with :class:`DeconvNet` at every ReLU."""
    return _composite("deconvnet", [(nn.ReLU, DeconvNet())], otherwise="gradient", seed="one")


def beta_smooth(beta: float = 10.0) -> Composite:
    """The gradient with :class:`BetaSmooth` at every ReLU."""
    return _composite("beta_smooth", [(nn.ReLU, BetaSmooth(beta))], otherwise="gradient", seed="one")


def pattern_net(patterns: Mapping[str, Tensor]) -> Composite:
    """:class:`PatternNet` for all layers with weights, with patterns of :func:`altprop.fit_patterns`."""
    return _composite("pattern_net", [(LAYERS, PatternNet(patterns))], otherwise="gradient")


def pattern_attribution(patterns: Mapping[str, Tensor]) -> Composite:
    """:class:`PatternAttribution` for all layers with weights, with patterns of :func:`altprop.fit_patterns`."""
    return _composite("pattern_attribution", [(LAYERS, PatternAttribution(patterns))], otherwise="gradient")


def _linear_and(convolution: LayerRule, epsilon: float) -> list[tuple[Predicate, RelevanceRule]]:
    return [(CONVOLUTIONS, convolution), (nn.Linear, Epsilon(epsilon))]


COMPOSITES: dict[str, Callable[..., Composite]] = {
    make.__name__: make
    for make in (
        epsilon, epsilon_plus, epsilon_plus_flat, epsilon_gamma_box, epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat,
        alpha1_beta0, excitation_backprop, attn_lrp, cp_lrp, gradient, guided_backprop, deconvnet, beta_smooth,
        pattern_net, pattern_attribution,
    )
}  # fmt: skip
"""Every composite that has a name, by its name."""


def as_composite(given: str | Composite | LayerRule | Pairs) -> Composite:
    """The composite given by its name, by one rule for all layers, by pairs, or as itself.

    Raises:
        TypeError: it is nothing of these.
        ValueError: there is none of that name, or it needs arguments.
    """
    if isinstance(given, Composite):
        return given
    if isinstance(given, LayerRule):
        return Composite([(LAYERS, given)], name=repr(given))
    if isinstance(given, str):
        return _named(given)
    if isinstance(given, Iterable):
        return Composite(given)
    raise TypeError(f"A composite is a name, a Composite, a rule or pairs (predicate, rule), got {given!r}.")


def _named(name: str) -> Composite:
    make = COMPOSITES.get(name)
    if make is None:
        hint = did_you_mean(name, COMPOSITES)
        raise ValueError(f"There is no composite {name!r}.{hint} There are: {', '.join(COMPOSITES)}.")
    needed = [p.name for p in inspect.signature(make).parameters.values() if p.default is inspect.Parameter.empty]
    if needed:
        arguments = ", ".join(f"{argument}=..." for argument in needed)
        raise ValueError(f"The composite {name!r} needs arguments: altprop.explain.composites.{name}({arguments}).")
    return make()
