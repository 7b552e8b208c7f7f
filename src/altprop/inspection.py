"""Which rule will handle which operation of a model, found by one forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from altprop._preserve import preserved
from altprop._switches import with_gradients
from altprop._tables import Table, Tabular
from altprop.ops.interceptor import Interceptor
from altprop.ops.names import TRANSPOSED_CONVOLUTIONS, WEIGHTED_SUMS, OpRule
from altprop.rule import Attachment, Rule

if TYPE_CHECKING:
    from altprop.explain.lrp import LRP


@dataclass(frozen=True)
class Operation:
    """One operation of a model's forward pass that takes part in the backward pass.

    Attributes:
        name: the torch function, or the class of a module that is handled as a whole.
        module: the name of the module that called it, as in ``named_modules()``; empty for the model itself.
        rule: the name of the rule that will handle it; ``"gradient"`` where it keeps its ordinary gradient.
        known: False where the attached rule has none for this operation and falls back to the ordinary gradient.
        summary: what the rule does, in a line.
    """

    name: str
    module: str
    rule: str
    known: bool
    summary: str


_HEADER = ("module", "operation", "rule", "what it does")


class Inspection(Tabular, list[Operation]):
    """The operations of a model in the order in which they run; printed, or shown in a notebook, a table."""

    @property
    def unknown(self) -> list[Operation]:
        """The operations that have no rule and fall back to the ordinary gradient."""
        return [operation for operation in self if not operation.known]

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(len(_HEADER) - 1)]
        lines = [
            "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]])
            for row in (_HEADER, *rows)
        ]
        return "\n".join([*lines, self._note()] if self.unknown else lines)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [(o.module or "(model)", o.name, o.rule if o.known else f"! {o.rule}", o.summary) for o in self]

    def _note(self) -> str:
        count = len(self.unknown)
        return f"{count} of {len(self)} operations have no rule and keep their ordinary gradient (marked !)."

    def _table(self) -> Table:
        return Table(self._note() if self.unknown else f"{len(self)} operations", _HEADER, self._rows())

    def _records(self) -> list[dict[str, Any]]:
        return [asdict(operation) for operation in self]


@with_gradients
def inspect(model: nn.Module, example_inputs: Any, rule: Rule | LRP) -> Inspection:
    """Run one forward pass and list every operation with the rule that will handle it.

    Args:
        model: any module. If no rule is attached, ``rule`` is attached for this one pass; buffers, gradients and random
            state are left as they were.
        example_inputs: one input, a tuple of positional inputs, or a dict of keyword inputs.
        rule: the learning rule to ask, or the :class:`altprop.LRP` of this model.

    Returns:
        A list of :class:`Operation` that prints as a table.

    Raises:
        ValueError: another rule is attached to the model, or ``rule`` explains another model.

    Example:
        >>> import altprop, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> for operation in altprop.inspect(model, torch.randn(2, 4), altprop.LFP()):
        ...     print(operation.module, operation.name.split(".")[-1], operation.rule)
        0 linear weighted_sum
        1 tanh activation
        2 linear weighted_sum
    """
    if not isinstance(rule, Rule):
        if rule.model is not model:
            raise ValueError(f"{rule!r} explains another model: make an altprop.LRP of this one.")
        return Inspection(Operation(*operation) for operation in rule.operations(example_inputs))
    attached = Attachment.of(model)
    if attached is not None and repr(attached.rule) != repr(rule):
        raise ValueError(f"Cannot inspect the model for {rule!r}: {attached.rule!r} is attached. Remove it first.")
    found = Inspection()
    inside: list[str] = []
    modules = dict(model.named_modules())

    def observe(name: str, op_rule: OpRule | None) -> None:
        explained = rule._explain(modules[inside[-1]]) if inside and _is_weighted_sum(name) else None
        if explained is not None:
            found.append(Operation(name, inside[-1], explained[0], True, explained[1]))
            return
        known = op_rule is not None or not hasattr(rule, "_interceptor")
        summary = (op_rule.__doc__ or "").partition("\n")[0] if op_rule else "The ordinary gradient."
        found.append(Operation(name, inside[-1] if inside else "", _label(op_rule), known, summary))

    with preserved(model), _calls_tracked(model, inside):
        if hasattr(rule, "_interceptor"):
            attachment = attached or rule.attach(model)
            attachment.observer = observe
            try:
                _run(model, example_inputs)
            finally:
                attachment.observer = None
                if attached is None:
                    attachment.remove()
        else:
            with (
                attached.suspended() if attached else nullcontext(),
                Interceptor({}, None, unknown=lambda name: None, observer=observe),
            ):
                _run(model, example_inputs)
    return found


def _is_weighted_sum(name: str) -> bool:
    function = name.rpartition(".")[2]
    return function in {*WEIGHTED_SUMS, *TRANSPOSED_CONVOLUTIONS, "addmm", "multi_head_attention_forward"}


def _label(rule: OpRule | None) -> str:
    return "gradient" if rule is None else rule.__name__


def _run(model: nn.Module, example_inputs: Any) -> None:
    if isinstance(example_inputs, Mapping):
        model(**example_inputs)
    elif isinstance(example_inputs, tuple):
        model(*example_inputs)
    else:
        model(example_inputs)


@contextmanager
def _calls_tracked(model: nn.Module, inside: list[str]) -> Iterator[None]:
    """Keep the name of the running module at the end of ``inside``."""

    def track(name: str) -> tuple[Any, Any]:
        return (lambda module, args: inside.append(name)), (lambda module, args, output: (inside.pop(), None)[1])

    handles = []
    for name, module in model.named_modules():
        enter, leave = track(name)
        handles += [
            module.register_forward_pre_hook(enter, prepend=True),
            module.register_forward_hook(leave, always_call=True),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
