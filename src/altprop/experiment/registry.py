"""The rules by name, with the learning rates that each is good for. A new rule is a line in each of two tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altprop
from altprop.experiment.data.examples import Task
from altprop.experiment.errors import InputError, unknown
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
        lr: the learning rate by optimizer, where none is given; that of Adam is AdamW's too.
        summary: the rule in a line.
        tasks: what it can learn.
        leaves_zero: whether it moves weights that start at zero.
        bounded: whether it needs activations that are bounded, such as tanh.
    """

    make: Callable[..., Rule]
    lr: dict[str, float]
    summary: str
    tasks: tuple[Task, ...] = ("classification", "regression", "reconstruction")
    leaves_zero: bool = True
    bounded: bool = False

    def lr_with(self, optimizer: str) -> float:
        """The learning rate for an optimizer, where none is given."""
        return self.lr.get(optimizer, self.lr["adam"])


RATES: dict[str, dict[str, float]] = {
    "backprop": {"sgd": 0.1, "adam": 0.003, "rmsprop": 0.003},
    "lfp": {"sgd": 0.3, "adam": 0.003, "rmsprop": 0.01},
    "fa": {"sgd": 0.03, "adam": 0.003, "rmsprop": 0.003},
    "sign-symmetric": {"sgd": 0.1, "adam": 0.01, "rmsprop": 0.003},
    "kp": {"sgd": 0.03, "adam": 0.003, "rmsprop": 0.003},
    "dfa": {"sgd": 0.03, "adam": 0.01, "rmsprop": 0.003},
    "drtp": {"sgd": 0.1, "adam": 0.003, "rmsprop": 0.001},
    "local-loss": {"sgd": 0.03, "adam": 0.003, "rmsprop": 0.001},
    "shallow": {"sgd": 0.3, "adam": 0.03, "rmsprop": 0.01},
}
"""By rule and optimizer the learning rate where none is given, with the default clipping of updates.

Found by ``benchmarks/default_rates.py`` on digits, mnist-5k, mnist1d, circles, blobs, swirl, sine and teacher-student,
with ReLU and with tanh, on samples that were held out; on half of these settings for Adam and RMSprop. Each is the
lowest rate of a grid (1, 3, 10, 30, …) that is nearly as good as the best on the set where it does worst.
"""

RULES: dict[str, RuleEntry] = {
    "backprop": RuleEntry(altprop.Backprop, RATES["backprop"], "The gradient: what all is compared with."),
    "lfp": RuleEntry(
        altprop.LFP, RATES["lfp"], "A reward, shared out in proportion to contributions.", leaves_zero=False
    ),
    "fa": RuleEntry(altprop.FeedbackAlignment, RATES["fa"], "The error goes back through fixed random weights."),
    "sign-symmetric": RuleEntry(
        altprop.SignSymmetric,
        RATES["sign-symmetric"],
        "The error goes back through the weights' signs.",
        leaves_zero=False,
    ),
    "kp": RuleEntry(altprop.KolenPollack, RATES["kp"], "Feedback weights learn as the forward weights do."),
    "dfa": RuleEntry(altprop.DFA, RATES["dfa"], "The error is projected to every hidden layer."),
    "drtp": RuleEntry(
        altprop.DRTP,
        RATES["drtp"],
        "The target is projected to every hidden layer.",
        ("classification",),
        bounded=True,
    ),
    "local-loss": RuleEntry(altprop.LocalLoss, RATES["local-loss"], "Each block learns from a classifier of its own."),
    "shallow": RuleEntry(altprop.Shallow, RATES["shallow"], "The last layer alone: the control."),
}


def check_start(name: str, *, zero_init: bool) -> None:
    """Check that a rule can learn from the initial weights that are asked for.

    Raises:
        InputError: the weights are zero, and it multiplies by them.
    """
    if zero_init and not RULES[name].leaves_zero:
        raise InputError(
            f"the rule {name!r} multiplies by the weights, or by the scale they start with, and never leaves zero: "
            f"leave model.zero_init off, or take a rule such as dfa."
        )


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


def make_named_rule(
    name: str, arguments: Mapping[str, Any], outputs: int | None = None, output: str | None = None
) -> Rule:
    """Make a rule from its name and its arguments, as :func:`make_rule` does from a label.

    Args:
        name: of the rule.
        arguments: of the rule.
        outputs: as for :func:`make_rule`.
        output: the module whose output is the network's, for rules that are told. Unset: the network itself.

    Raises:
        InputError: as for :func:`make_rule`.

    Example:
        >>> make_named_rule("lfp", {"epsilon": 0})
        LFP(epsilon=0)
    """
    given = {key: value for key, value in {"outputs": outputs, "output": output}.items() if value is not None}
    return make_named("rule", name, arguments, {name: entry.make for name, entry in RULES.items()}, **given)
