"""The report of a study: a page that needs no other file and no network, its pictures, and tables for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from altprop.experiment.data.examples import Splits
from altprop.experiment.labels import base_name
from altprop.experiment.records.study import HIDDEN_COSINE, Epoch, Study, Trial
from altprop.experiment.registry import REFERENCE, make_rule
from altprop.experiment.reports.csv import column, write_csv
from altprop.experiment.reports.figures import pictures
from altprop.experiment.reports.page import render
from altprop.experiment.reports.picture import Picture
from altprop.experiment.reports.study_table import CONTROL_NOTE, OVER_CONTROL, has_control, header, row, verdict_of

_NAMES = {"bp_cosine": "cosine", HIDDEN_COSINE: "cosine_hidden", "weight_alignment": "weight_cosine"}


def write_report(study: Study, splits: Splits, folder: Path) -> None:
    """Write the report of a study.

    * ``results.csv``: a line for each network; ``curves.csv``: a line for each of its epochs;
    * ``report.html``, and its pictures as SVG files beside it.

    Args:
        study: what to show, with its networks.
        splits: what the networks were trained on.
        folder: where to write; it exists.
    """
    write_csv(folder / "results.csv", _cell_rows(study))
    write_csv(folder / "curves.csv", _epoch_rows(study))
    drawn = pictures(study, splits)
    for picture in drawn:
        (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    (folder / "report.html").write_text(render_report(study, drawn), encoding="utf-8")


def render_report(study: Study, drawn: Sequence[Picture]) -> str:
    """Render the page.

    Args:
        study: what to show.
        drawn: the pictures below the table.
    """
    judged, layers = has_control(study), _layers(study)
    subtitle = "several learning rules, the same batches" if study.compares else "one learning rule"
    interrupted = ["The study was interrupted; this is what there was."] if study.interrupted else []
    return render(
        "report.html",
        results=study,
        title=_title(study),
        subtitle=f"One network, {subtitle}",
        facts=_facts(study) | {rule: f"altprop.{make_rule(rule)!r}" for rule in study.rules},
        header=header(study),
        rows=[(verdict_of(summary) if judged else "", row(study, summary)) for summary in study.summaries],
        verdict=_verdict(study) if judged else "",
        control_note=f"{OVER_CONTROL} {CONTROL_NOTE}" if judged else "",
        layers=layers,
        layer_rows=[[rule, *map(_cosine, cosines.values())] for rule, cosines in layers.items()],
        trials=[_trial_row(trial) for trial in study.trials],
        pictures=drawn,
        messages=[*interrupted, *study.messages],
        command=study.command,
    )


def _cosine(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _trial_row(trial: Trial) -> list[str]:
    return [trial.rule, f"{trial.lr:g}", "diverged" if trial.score is None else f"{trial.score:.3f}"]


def _cell_rows(study: Study) -> Iterable[Mapping[str, Any]]:
    for cell in study.cells:
        figures = cell.judged
        yield {
            "rule": cell.rule,
            "seed": cell.seed,
            "lr": cell.lr,
            "status": cell.status,
            "epochs": len(cell.history),
            "judged_epoch": figures and figures.epoch,
            f"test_{column(study.metric)}": cell.score,
            f"validation_{column(study.metric)}": figures and figures.val_score,
            "train_loss": figures and figures.train_loss,
            "step_time_ratio": study.step_ratio(cell.rule),
            "cosine_hidden": cell.tracked(HIDDEN_COSINE),
            "sparsity": cell.tracked("sparsity"),
            "seconds": round(cell.seconds, 3),
            "message": cell.message,
        }


def _epoch_rows(study: Study) -> Iterable[Mapping[str, Any]]:
    for cell in study.cells:
        for figures in cell.epochs:
            yield {"rule": cell.rule, "seed": cell.seed, **_epoch_row(figures, column(study.metric))}


def _epoch_row(figures: Epoch, score: str) -> Mapping[str, Any]:
    tracked = {_in_table(name): value for name, value in figures.tracked.items()}
    return {
        "epoch": figures.epoch,
        "step": figures.step,
        "train_loss": figures.train_loss,
        f"train_{score}": figures.train_score,
        f"validation_{score}": figures.val_score,
        f"test_{score}": figures.test_score,
        **tracked,
    }


def _in_table(name: str) -> str:
    kind, slash, layer = name.partition("/")
    return _NAMES.get(kind, kind) + (f"_{layer}" if slash else "")


def _title(study: Study) -> str:
    *others, last = study.rules
    return f"{', '.join(others)} and {last} on {study.data.name}" if others else f"{last} on {study.data.name}"


def _facts(study: Study) -> dict[str, str]:
    """What was run, in a few words each."""
    recipe, data = study.recipe, study.data
    shape = "×".join(map(str, data.input_shape))
    norm = "" if recipe.model.norm == "none" else f", {recipe.model.norm} norm"
    momentum = f", momentum {recipe.optimizer.momentum:g}" if recipe.optimizer.name == "sgd" else ""
    clip = f"update norm clipped at {recipe.training.clip:g}" if recipe.training.clip else "no clipping"
    outputs = "classes" if data.task == "classification" else "outputs"
    training = recipe.training
    length = f"{training.steps} steps" if training.steps else f"{training.planned_epochs} epochs"
    return {
        "data": f"{data.name}: {data.train:,} + {data.test:,} samples of {shape}, {data.outputs} {outputs}",
        "network": f"{recipe.model.name}, {recipe.model.activation}{norm}",
        "objective": study.objective,
        "optimizer": f"{recipe.optimizer.name}{momentum}, {clip}",
        "training": f"{length}, batches of {training.batch_size}",
        "seeds": ", ".join(map(str, study.seeds)),
    }


def _verdict(study: Study) -> str:
    """Which rules beat the control, in a sentence; backprop, which others are measured by, is not among them."""
    judged = {
        summary.rule: verdict_of(summary)
        for summary in study.summaries
        if summary.over_control and base_name(summary.rule) != REFERENCE
    }
    groups = {
        "beats the control": [rule for rule, verdict in judged.items() if verdict == "yes"],
        "is behind it": [rule for rule, verdict in judged.items() if verdict == "no"],
        f"not told from it by {len(study.seeds)} seed{'s' * (len(study.seeds) > 1)}": [
            rule for rule, verdict in judged.items() if not verdict
        ],
    }
    parts = [f"{', '.join(rules)}: {words}" for words, rules in groups.items() if rules]
    return "; ".join(parts) + "." if parts else ""


def _layers(study: Study) -> dict[str, dict[str, float | None]]:
    """The mean cosine with backprop, by rule and layer."""
    return {
        summary.rule: summary.layer_cosines
        for summary in study.summaries
        if summary.layer_cosines and base_name(summary.rule) != REFERENCE
    }
