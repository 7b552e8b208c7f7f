"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from altprop import measure, nn, rewards
from altprop._targets import targets
from altprop.inspection import inspect
from altprop.rule import Attachment, Rule
from altprop.rules.backprop import Backprop
from altprop.rules.direct import DFA, DRTP, Shallow
from altprop.rules.feedback_weights import FeedbackAlignment, KolenPollack, SignSymmetric
from altprop.rules.lfp import LFP
from altprop.rules.local_loss import LocalLoss

if TYPE_CHECKING:
    from altprop import explain
    from altprop.explain.lrp import LRP
    from altprop.explain.patterns import fit_patterns

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

# Explaining is imported at its first use: who trains need not wait for it.
_LATER = {"explain": "altprop.explain", "LRP": "altprop.explain.lrp", "fit_patterns": "altprop.explain.patterns"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name])
    return module if name == "explain" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
