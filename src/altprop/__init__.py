"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altprop import explain, measure, nn, rewards
    from altprop._targets import targets
    from altprop.explain.lrp import LRP
    from altprop.explain.patterns import fit_patterns
    from altprop.inspection import inspect
    from altprop.rule import Attachment, Rule
    from altprop.rules.backprop import Backprop
    from altprop.rules.direct import DFA, DRTP, Shallow
    from altprop.rules.feedback_weights import FeedbackAlignment, KolenPollack, SignSymmetric
    from altprop.rules.lfp import LFP
    from altprop.rules.local_loss import LocalLoss

__all__ = [
    "DFA",
    "DRTP",
    "LFP",
    "LRP",
    "Attachment",
    "Backprop",
    "FeedbackAlignment",
    "KolenPollack",
    "LocalLoss",
    "Rule",
    "Shallow",
    "SignSymmetric",
    "explain",
    "fit_patterns",
    "inspect",
    "measure",
    "nn",
    "rewards",
    "targets",
]

__version__ = "0.1.0"

# All is imported at its first use: the command line's help need not wait for torch, nor training for what explains.
_LATER = {
    "DFA": "rules.direct",
    "DRTP": "rules.direct",
    "LFP": "rules.lfp",
    "LRP": "explain.lrp",
    "Attachment": "rule",
    "Backprop": "rules.backprop",
    "FeedbackAlignment": "rules.feedback_weights",
    "KolenPollack": "rules.feedback_weights",
    "LocalLoss": "rules.local_loss",
    "Rule": "rule",
    "Shallow": "rules.direct",
    "SignSymmetric": "rules.feedback_weights",
    "fit_patterns": "explain.patterns",
    "inspect": "inspection",
    "targets": "_targets",
}
_PARTS = ("explain", "measure", "nn", "rewards")


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"altprop.{name}")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"altprop.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
