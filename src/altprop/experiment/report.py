"""The report: one page of HTML that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence

from altprop.experiment.labels import base_name
from altprop.experiment.registry import REFERENCE, make_rule
from altprop.experiment.reports.page import render
from altprop.experiment.reports.picture import Picture
from altprop.experiment.results import Results
from altprop.experiment.table import CONTROL_NOTE, header, row


def render_report(results: Results, pictures: Sequence[Picture]) -> str:
    """Render the report.

    Args:
        results: of the experiment.
        pictures: what to show below the table.

    Returns:
        The page.
    """
    rules = "one learning rule" if results.command == "train" else "several learning rules, the same batches"
    interrupted = ["The experiment was interrupted; this is what there was."] if results.interrupted else []
    return render(
        "report.html",
        results=results,
        title=_title(results),
        subtitle=f"One network, {rules}",
        facts=_facts(results) | {rule: f"altprop.{make_rule(rule)!r}" for rule in results.settings.rules},
        header=header(results),
        rows=[(summary, row(results, summary)) for summary in results.summaries],
        verdict=_verdict(results),
        control_note=CONTROL_NOTE if results.command == "compare" else "",
        layers=_layers(results),
        pictures=pictures,
        messages=[*interrupted, *(run.message() for run in results.runs if run.divergence), *results.notes],
        command=_command(results),
    )


def _command(results: Results) -> str:
    """What repeats the experiment: a command line, or a line of Python if the data were the user's own."""
    if results.data.name == results.settings.data:
        return results.settings.command(results.command)
    changed = results.settings.model_dump(
        mode="json", exclude={"data", "out", "name", "overwrite"}, exclude_defaults=True
    )
    arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    return f"altprop.experiment.{results.command}(Settings({arguments}), data=...)  # of {results.data.name}"


def _title(results: Results) -> str:
    rules = [summary.rule for summary in results.summaries]
    if len(rules) == 1:
        return f"{rules[0]} on {results.data.name}"
    return f"{', '.join(rules[:-1])} and {rules[-1]} on {results.data.name}"


def _facts(results: Results) -> dict[str, str]:
    """What was run, in a few words each."""
    settings, data = results.settings, results.data
    shape = "×".join(map(str, data.input_shape))
    norm = "" if settings.norm == "none" else f", {settings.norm} norm"
    momentum = f", momentum {settings.momentum:g}" if settings.optimizer == "sgd" else ""
    clip = f"update norm clipped at {settings.clip:g}" if settings.clip else "no clipping"
    outputs = "classes" if data.task == "classification" else "outputs"
    return {
        "data": f"{data.name}: {data.train:,} + {data.test:,} samples of {shape}, {data.outputs} {outputs}",
        "network": f"{settings.model}, {settings.activation}{norm}",
        "objective": results.objective,
        "optimizer": f"{settings.optimizer}{momentum}, {clip}",
        "training": f"{settings.epochs} epochs, batches of {settings.batch_size}",
        "seeds": ", ".join(map(str, settings.seeds)),
    }


def _verdict(results: Results) -> str:
    """Which rules beat the control, in a sentence; empty where there is no control."""
    judged = {summary.rule: summary.beats_control for summary in results.summaries}
    groups = {
        "beats the control": [rule for rule, verdict in judged.items() if verdict == "yes"],
        "does not beat it": [rule for rule, verdict in judged.items() if verdict == "no"],
        "cannot be told from it with these seeds": [rule for rule, verdict in judged.items() if verdict == "unclear"],
    }
    parts = [f"{', '.join(rules)}: {words}" for words, rules in groups.items() if rules]
    return "; ".join(parts) + "." if parts else ""


def _layers(results: Results) -> dict[str, dict[str, float | None]]:
    """The mean cosine with backprop, by rule and layer."""
    return {
        summary.rule: summary.layer_cosines
        for summary in results.summaries
        if summary.layer_cosines and base_name(summary.rule) != REFERENCE
    }
