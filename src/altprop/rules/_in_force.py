"""Checks that a direct rule is in force, with warnings where it is not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.utils._pytree import tree_leaves

from altprop.ops.interceptor import _within_reentrant_checkpoint
from altprop.rule import Attachment, Rule
from altprop.rules._layers import is_layer, named_modules

_PASSED = "the named output has been passed by"
_CHECKPOINT = "torch.utils.checkpoint"


def saving_hooks() -> Any:
    """The active hooks on tensors saved for the backward pass, or None."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False)


def _of_checkpoint(hooks: Any) -> bool:
    return hooks is not None and getattr(hooks[0], "__module__", "") == _CHECKPOINT


def refuse_checkpointing(rule: Rule, before: Any) -> None:
    """Refuse a cut within a part of the model under activation checkpointing.

    What is computed again in the backward pass is not cut, and with ``use_reentrant=True`` the part runs without a
    graph. A model that is checkpointed as a whole is well: it runs again under its rule.

    Args:
        rule: the rule.
        before: the hooks on saved tensors when the model began to run.

    Raises:
        RuntimeError: the layer that is about to run is within such a part.
    """
    hooks = saving_hooks()
    within = hooks != before and _of_checkpoint(hooks)
    if within or (not torch.is_grad_enabled() and _within_reentrant_checkpoint()):
        raise RuntimeError(
            f"This model uses activation checkpointing (torch.utils.checkpoint), which runs layers again during the "
            f"backward pass, where {rule!r} no longer cuts them off. Switch checkpointing off (in Hugging Face models: "
            f"model.gradient_checkpointing_disable()), or leave out of it the modules at which the network is cut."
        )


def warn_of_call_around(model: nn.Module, name: str) -> None:
    """Warn once that a layer is called outside the attached model, where it learns by plain backprop."""
    attachment = Attachment.of(model)
    if attachment is None or not attachment.active or "around" in attachment.warned:
        return
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or _of_checkpoint(saving_hooks()):
        return
    attachment.tell(
        "around",
        f"{attachment.rule!r} is not in force: the layer {name!r} runs outside the forward pass of the "
        f"{type(model).__name__} that the rule is attached to, and learns by plain backprop. Call the model itself, or "
        f"attach the rule to the module that your training step calls.",
    )


def watch_the_named_output(attachment: Attachment, named: Any, returned: Any) -> None:
    """Warn of backward passes that miss the output named by ``output=``, until one reaches it.

    Args:
        attachment: of the model.
        named: what the module that is named gave back.
        returned: what the model gave back.
    """
    warned = attachment.warned
    if _PASSED in warned or torch.compiler.is_compiling():
        return

    def pass_by(_: Tensor) -> None:
        warned.add(_PASSED)

    def check() -> None:
        if not warned & {_PASSED, "named"}:
            rule: Any = attachment.rule
            attachment.tell(
                "named",
                f"The loss does not depend on the output of {rule.output!r}, which {rule!r} names as the network's, so "
                f"that no hidden layer is taught. Name the module that computes what the loss is taken of.",
            )

    for tensor in _with_gradient(named):
        tensor.register_hook(pass_by)  # type: ignore[no-untyped-call]
    for tensor in _with_gradient(returned):
        tensor.register_hook(lambda _: Variable._execution_engine.queue_callback(check))  # type: ignore[no-untyped-call]


def _with_gradient(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]


def warn_of_uncut_weights(run: Any, outputs: list[Tensor]) -> None:
    """Warn, in a model's first pass, of weights through which credit flows on to others by backprop, past no cut.

    Such are weights that are used without their layer, as in ``F.linear(h, self.embedding.weight)``. The graphs of all
    blocks are walked once, and where a weighted sum by a parameter has another layer's weights before it, the network
    was not cut at its input.
    """
    rule = run.attachment.rule
    if not run.first or rule.blocks is not None or torch.compiler.is_compiling():
        return
    model = run.attachment.model
    owners = _owners(model)
    walk = _Walk({id(parameter) for parameter in owners if parameter.dim() >= 2})
    for tensor in (*outputs, *(live for _, live in run.cut)):
        if tensor.grad_fn is not None:
            walk.visit(tensor.grad_fn)
    uncut = [name for name, p in model.named_parameters() if _is_uncut(p, owners[p], run.entered, walk.sums)]
    if uncut:
        more = f" and {len(uncut) - 8} more" if len(uncut) > 8 else ""
        run.attachment.tell(
            "uncut",
            f"{rule!r} does not cut the network before {', '.join(uncut[:8])}{more}, used without a call of the layer "
            f"that holds it: what leads there learns by backprop. Put the weight in a layer that is called, or name "
            f"the modules to cut at with blocks=[...].",
        )


def _is_uncut(weight: nn.Parameter, layer: nn.Module | None, first: nn.Module | None, sums: list[_Sum]) -> bool:
    """Whether a weighted sum by ``weight`` has others' weights before its input."""
    own = {id(p) for p in layer.parameters()} if layer is not None else {id(weight)}
    foreign = [before - own for parameter, before in sums if parameter == id(weight)]
    # The first layer that runs is not cut, and what is before its first call may be learnt, such as a prompt.
    may_follow = layer is not None and layer is first and not isinstance(layer, nn.Embedding) and len(foreign) == 1
    return any(foreign) and not may_follow


def _owners(model: nn.Module) -> dict[nn.Parameter, nn.Module | None]:
    """By parameter: the outermost layer that holds it, the model itself aside."""
    owners: dict[nn.Parameter, nn.Module | None] = {}
    for _, module in named_modules(model):
        if is_layer(module) and module is not model:
            for parameter in module.parameters():
                owners.setdefault(parameter, module)
    return {parameter: owners.get(parameter) for parameter in model.parameters()}


_Sum = tuple[int, frozenset[int]]

_VIEWS = ("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Expand", "Alias", "Squeeze", "Unsqueeze",
          "ToCopy", "Clone")  # fmt: skip
_SUMS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Addmv", "Mv", "Addbmm", "Linear", "MkldnnLinear", "Convolution",
         "MkldnnConvolution", "MpsConvolution", "CudnnConvolution", "MpsLinear")  # fmt: skip


class _Walk:
    """A walk through autograd's graph that finds the matrices before each node, and the weighted sums they enter.

    Attributes:
        sums: pairs of the id of the parameter that is the weight, and those of all before the sum's input.
    """

    def __init__(self, matrices: set[int]) -> None:
        self._matrices = matrices
        self._before: dict[Any, frozenset[int]] = {}
        self.sums: list[_Sum] = []

    def visit(self, root: Any) -> None:
        """Walk from a node, without recursion: networks are deeper than Python's stack."""
        waiting = [root]
        while waiting:
            node = waiting[-1]
            inner = [after for after, _ in node.next_functions if after is not None and after not in self._before]
            if node not in self._before and inner:
                waiting += inner
                continue
            waiting.pop()
            if node not in self._before:
                self._note(node)

    def _note(self, node: Any) -> None:
        after = [inner for inner, _ in node.next_functions if inner is not None]
        variable = getattr(node, "variable", None)
        own = {id(variable)} & self._matrices if variable is not None else set()
        self._before[node] = frozenset(own).union(*(self._before[inner] for inner in after))
        if _kind(node) in _SUMS:
            weights = {inner: self._weight(inner) for inner in after}
            for inner, weight in weights.items():
                if weight is not None:
                    others = frozenset().union(*(self._before[other] for other in after if other is not inner))
                    self.sums.append((weight, others))

    def _weight(self, node: Any) -> int | None:
        """The id of the matrix that a node is only a view of."""
        while _kind(node) in _VIEWS:
            node = node.next_functions[0][0]
            if node is None:
                return None
        variable = getattr(node, "variable", None)
        return id(variable) if variable is not None and id(variable) in self._matrices else None


def _kind(node: Any) -> str:
    return str(node.name()).partition("Backward")[0]
