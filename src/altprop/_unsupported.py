"""Refuse, at the model's call, features of torch that no rule can work under."""

from __future__ import annotations

import torch


def refuse_transforms(rule: object) -> None:
    """Refuse to run a model under a transform of ``torch.func`` or under ``torch.jit.trace``.

    Args:
        rule: the rule that is attached, or the layer that has feedback weights.

    Raises:
        RuntimeError: one of them is at work.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            f"{rule!r} does not work under the transforms of torch.func (vmap, grad, jvp, ...), so that it has no "
            f"per-sample gradients by them. Call the model on one sample at a time, or take the rule off: "
            f"attachment.suspended() for a block, attachment.remove() for good."
        )
    if torch._C._get_tracing_state() is not None:
        raise RuntimeError(
            f"{rule!r} cannot be traced by torch.jit.trace: a trace holds no learning rule. Trace under "
            f"torch.no_grad(), within attachment.suspended(), or after attachment.remove()."
        )
