"""altprop trains any PyTorch network by any rule for sending credit backward, and explains it the same way."""

from altprop.rule import Attachment, Rule
from altprop.rules.backprop import Backprop
from altprop.rules.direct import Shallow

__all__ = ["Attachment", "Backprop", "Rule", "Shallow"]

__version__ = "0.1.0"
