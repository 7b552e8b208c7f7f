"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altprop import _lazy

if TYPE_CHECKING:
    from altprop import explain as explain
    from altprop import measure as measure
    from altprop import nn as nn
    from altprop import rewards as rewards
    from altprop._targets import targets as targets
    from altprop.explain.lrp import LRP as LRP
    from altprop.explain.patterns import fit_patterns as fit_patterns
    from altprop.inspection import inspect as inspect
    from altprop.rule import Attachment as Attachment
    from altprop.rule import Rule as Rule
    from altprop.rules.backprop import Backprop as Backprop
    from altprop.rules.direct import DFA as DFA
    from altprop.rules.direct import DRTP as DRTP
    from altprop.rules.direct import Shallow as Shallow
    from altprop.rules.feedback_weights import FeedbackAlignment as FeedbackAlignment
    from altprop.rules.feedback_weights import KolenPollack as KolenPollack
    from altprop.rules.feedback_weights import SignSymmetric as SignSymmetric
    from altprop.rules.lfp import LFP as LFP
    from altprop.rules.local_loss import LocalLoss as LocalLoss

__version__ = "0.1.0"

# Names are imported at their first use: the command line's help need not wait for torch, nor training for LRP.
__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    {
        "_targets": ["targets"],
        "explain.lrp": ["LRP"],
        "explain.patterns": ["fit_patterns"],
        "inspection": ["inspect"],
        "rule": ["Attachment", "Rule"],
        "rules.backprop": ["Backprop"],
        "rules.direct": ["DFA", "DRTP", "Shallow"],
        "rules.feedback_weights": ["FeedbackAlignment", "KolenPollack", "SignSymmetric"],
        "rules.lfp": ["LFP"],
        "rules.local_loss": ["LocalLoss"],
    },
    modules=["explain", "measure", "nn", "rewards"],
)
