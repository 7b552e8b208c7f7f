"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

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
