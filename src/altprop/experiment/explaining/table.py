"""The tables of explanations: what stands in them, and how they look in a terminal."""

from __future__ import annotations

from rich.table import Table

from altprop.experiment.explaining.results import Explained, Explanations, Outcome

INPUTS_HEADER = ("input", "true class", "predicted", "its output", "explained", "its output")
HEADER = ("rule", "explained output", "sum of relevance", "seconds")


def input_row(one: Explained) -> list[str]:
    """The cells of one input, in the order of :data:`INPUTS_HEADER`."""
    values = (one.name, one.true or "–", one.predicted_name, one.score, one.target_name, one.output)
    return [f"{value:.4g}" if isinstance(value, float) else value for value in values]


def row(explanations: Explanations, outcome: Outcome) -> list[str]:
    """The cells of one rule, in the order of :data:`HEADER`; means over the inputs."""
    output, total = explanations.mean_output, outcome.mean_sum
    return [outcome.composite, f"{output:.4g}", f"{total:.4g}", f"{outcome.seconds:.3f}"]


def terminal_tables(explanations: Explanations) -> list[Table]:
    """The tables for a terminal: the inputs, and the rules."""
    count = len(explanations.inputs)
    inputs = Table(*INPUTS_HEADER, caption=explanations.network)
    for one in explanations.inputs:
        inputs.add_row(*input_row(one))
    rules = Table(caption=f"Means over {count} inputs; seconds for all of them." if count > 1 else None)
    for number, name in enumerate(HEADER):
        rules.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for outcome in explanations.outcomes:
        rules.add_row(*row(explanations, outcome))
    return [inputs, rules]
