"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

from altprop import nn
from altprop.rule import Attachment, Rule
from altprop.rules.backprop import Backprop
from altprop.rules.direct import Shallow
from altprop.rules.lfp import LFP

__all__ = ["LFP", "Attachment", "Backprop", "Rule", "Shallow", "nn"]

__version__ = "0.1.0"
