"""The rules by name, with the learning rate that each is good for. A new rule is one line here."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import altprop
from altprop.experiment.dataset import Task
from altprop.experiment.errors import InputError, unknown
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
    """

    make: Callable[..., Rule]
    lr: dict[str, float]
    summary: str
    tasks: tuple[Task, ...] = ("classification", "regression", "reconstruction")


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
        altprop.DRTP, {"sgd": 0.3, "adam": 3e-3}, "The target is projected to every hidden layer.", ("classification",)
    ),
    "local-loss": RuleEntry(
        altprop.LocalLoss, {"sgd": 0.03, "adam": 1e-3}, "Each block learns from a classifier of its own."
    ),
    "shallow": RuleEntry(altprop.Shallow, {"sgd": 0.3, "adam": 1e-2}, "The last layer alone: the control."),
}


def base_name(label: str) -> str:
    """The name in a label: ``"lfp"`` of ``"lfp:epsilon=0"``."""
    return label.partition(":")[0]


def make_rule(label: str) -> Rule:
    """Make the rule that a label describes.

    Args:
        label: a name, with arguments after a colon if need be: ``"lfp"``, ``"lfp:gamma=0.1,minimum_scale=0.001"``.

    Raises:
        InputError: there is no such rule, it has no such argument, or the rule refuses its value.

    Example:
        >>> make_rule("lfp:epsilon=0,update=oja")
        LFP(epsilon=0, update='oja')
    """
    name, _, text = label.partition(":")
    if name not in RULES:
        raise unknown("rule", name, RULES)
    arguments = dict(_argument(label, part) for part in text.split(",")) if text else {}
    known = signature(RULES[name].make).parameters
    for argument in arguments:
        if not known:
            raise InputError(f"The rule {name!r} takes no arguments, got {label!r}.")
        if argument not in known:
            raise unknown(f"argument of the rule {name!r} called", argument, known)
    try:
        return RULES[name].make(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"The rule {label!r} cannot be made: {error}") from error


def _argument(label: str, part: str) -> tuple[str, Any]:
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if not (name and equals and value):
        raise InputError(f"The arguments of a rule are written name=value, got {part!r} in {label!r}.")
    try:
        return name, literal_eval(value)
    except (SyntaxError, ValueError):
        return name, {"true": True, "false": False}.get(value.lower(), value)


def split_labels(text: str) -> list[str]:
    """Split a comma-separated list of labels, whose arguments hold commas too.

    A part with an equals sign goes on with the arguments before it, unless it begins with the name of a rule. What
    follows a label, as the rate in ``"lfp:epsilon=0=0.5"``, is kept.

    Example:
        >>> split_labels("lfp:gamma=0.1,minimum_scale=0.001,backprop")
        ['lfp:gamma=0.1,minimum_scale=0.001', 'backprop']
    """
    labels: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        name, equals, _ = part.partition("=")
        goes_on = labels and ":" in labels[-1] and equals and ":" not in name and name not in RULES
        if goes_on:
            labels[-1] += f",{part}"
        elif part:
            labels.append(part)
    return labels
