"""The rules by name, with the learning rate that each is good for. A new rule is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altprop
from altprop.experiment.data.examples import Task
from altprop.experiment.errors import unknown
from altprop.experiment.labels import base_name, make_named, parse_label
from altprop.rule import Rule

CONTROL = "shallow"
"""The rule that every other must beat: the hidden layers stay at their initial values."""

REFERENCE = "backprop"
"""The rule that step times and updates are compared with."""


@dataclass(frozen=True)
class RuleEntry:
    """What the experiments know of a rule.

    Attributes:
        make: makes the rule; its keyword arguments are those that may follow the name.
        lr: a learning rate for each family of optimizers that suits small networks, with the default clipping.
        summary: the rule in a line.
        tasks: what it can learn.
        bounded: whether it needs activations that are bounded, such as tanh.
    """

    make: Callable[..., Rule]
    lr: dict[str, float]
    summary: str
    tasks: tuple[Task, ...] = ("classification", "regression", "reconstruction")
    bounded: bool = False

    def lr_with(self, optimizer: str) -> float:
        """The learning rate for an optimizer, where none is given."""
        return self.lr["sgd" if optimizer == "sgd" else "adam"]


RULES: dict[str, RuleEntry] = {
    "backprop": RuleEntry(altprop.Backprop, {"sgd": 0.1, "adam": 1e-3}, "The gradient: what all is compared with."),
    "lfp": RuleEntry(altprop.LFP, {"sgd": 1.0, "adam": 3e-3}, "A reward, shared out in proportion to contributions."),
    "fa": RuleEntry(
        altprop.FeedbackAlignment, {"sgd": 0.03, "adam": 1e-3}, "The error goes back through fixed random weights."
    ),
    "sign-symmetric": RuleEntry(
        altprop.SignSymmetric, {"sgd": 0.1, "adam": 3e-3}, "The error goes back through the weights' signs."
    ),
    "kp": RuleEntry(
        altprop.KolenPollack, {"sgd": 0.1, "adam": 3e-3}, "Feedback weights learn as the forward weights do."
    ),
    "dfa": RuleEntry(altprop.DFA, {"sgd": 0.03, "adam": 1e-3}, "The error is projected to every hidden layer."),
    "drtp": RuleEntry(
        altprop.DRTP,
        {"sgd": 0.3, "adam": 3e-3},
        "The target is projected to every hidden layer.",
        ("classification",),
        bounded=True,
    ),
    "local-loss": RuleEntry(
        altprop.LocalLoss, {"sgd": 0.03, "adam": 1e-3}, "Each block learns from a classifier of its own."
    ),
    "shallow": RuleEntry(altprop.Shallow, {"sgd": 0.3, "adam": 1e-2}, "The last layer alone: the control."),
}


def make_rule(label: str, outputs: int | None = None) -> Rule:
    """Make the rule that a label describes.

    Args:
        label: a name, with arguments after a colon if need be: ``"lfp"``, ``"lfp:gamma=0.1,minimum_scale=0.001"``.
        outputs: how many values the network gives for a sample, for rules that are told. Unset: they find out.

    Raises:
        InputError: there is no such rule, it has no such argument, or the rule refuses its value.

    Example:
        >>> make_rule("lfp:epsilon=0,update=oja")
        LFP(epsilon=0, update='oja')
    """
    if base_name(label) not in RULES:
        raise unknown("rule", base_name(label), RULES)
    return make_named_rule(*parse_label("rule", label), outputs=outputs)


def make_named_rule(name: str, arguments: Mapping[str, Any], outputs: int | None = None) -> Rule:
    """Make a rule from its name and its arguments, as :func:`make_rule` does from a label.

    Raises:
        InputError: as for :func:`make_rule`.

    Example:
        >>> make_named_rule("lfp", {"epsilon": 0})
        LFP(epsilon=0)
    """
    given = {} if outputs is None else {"outputs": outputs}
    return make_named("rule", name, arguments, {name: entry.make for name, entry in RULES.items()}, **given)
