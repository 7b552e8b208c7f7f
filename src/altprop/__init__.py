"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

from altprop import measure, nn, rewards
from altprop.inspection import inspect
from altprop.rule import Attachment, Rule
from altprop.rules.backprop import Backprop
from altprop.rules.direct import Shallow
from altprop.rules.feedback_weights import FeedbackAlignment, KolenPollack, SignSymmetric
from altprop.rules.lfp import LFP

__all__ = [
    "LFP",
    "Attachment",
    "Backprop",
    "FeedbackAlignment",
    "KolenPollack",
    "Rule",
    "Shallow",
    "SignSymmetric",
    "inspect",
    "measure",
    "nn",
    "rewards",
]

__version__ = "0.1.0"
