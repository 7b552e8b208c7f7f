"""Where relevance is lost: what each operation received and handed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from altprop.ops.lrp.layer import Layer
from altprop.ops.lrp.nodes import RelevanceNode


@dataclass(frozen=True)
class LayerConservation:
    """One operation's relevance, summed over the batch and all entries.

    Attributes:
        module: the name of the module that called it; empty for the model itself.
        operation: the torch function.
        rule: the rule that it follows.
        received: what reached its output.
        passed: what it handed to its inputs.
        biases: what its bias, and other inputs that are no activations, kept.
        stabilisers: what its stabilisers ε kept.
    """

    module: str
    operation: str
    rule: str
    received: float
    passed: float
    biases: float
    stabilisers: float

    @classmethod
    def of(cls, layer: Layer, node: RelevanceNode) -> Self:
        """The record of an operation that was watched."""
        received, passed, stabilised = (
            0.0 if total is None else float(total) for total in (node.received, node.passed, node.stabilised)
        )
        biases = received - passed - stabilised
        return cls(layer.name, layer.function, node.label, received, passed, biases, stabilised)


class Conservation(list[LayerConservation]):
    """A record for each operation, from the output to the input; prints as a table.

    Attributes:
        explained: the relevance at the start, summed over the batch.
        reached: the relevance of the inputs, summed over the batch.
    """

    def __init__(self, records: Iterable[LayerConservation], explained: float, reached: float) -> None:
        super().__init__(records)
        self.explained, self.reached = explained, reached

    def __str__(self) -> str:
        header = ("module", "operation", "rule", "received", "passed", "biases", "stabilisers")
        rows = [header] + [
            (
                r.module or "(model)",
                r.operation,
                r.rule,
                *(f"{v:.6g}" for v in (r.received, r.passed, r.biases, r.stabilisers)),
            )
            for r in self
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, f"explained {self.explained:.6g}, of which {self.reached:.6g} reached the inputs"])


def _row(record: LayerConservation) -> tuple[str, ...]:
    amounts = (record.received, record.passed, record.biases, record.stabilisers)
    return record.module or "(model)", record.operation, record.rule, *(f"{amount:.6g}" for amount in amounts)
