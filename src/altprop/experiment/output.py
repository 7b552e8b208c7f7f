"""The files that an experiment leaves: tables for programs, pictures and a page for people, weights."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.records.folder import RESULTS, WEIGHTS, weights_file
from altprop.experiment.results import Results


def write_results(results: Results, folder: Path) -> None:
    """Write what came out of an experiment, for programs.

    * ``results.csv``: a line for each run; ``curves.csv``: a line for each of its epochs;
    * ``settings.json``: the settings as they were used, defaults filled in;
    * ``model.pt``: after ``train``, the weights (``model-seed-1.pt`` for each seed if there are several), unless the
      run diverged;
    * ``weights/``: the weights of every rule and seed, if they are to be kept, for
      :mod:`altprop.experiment.studies.kept`;
    * ``results.json``: all but the weights, to be read again by :meth:`Results.load`. It comes last: where it is, the
      others are too.

    Args:
        results: what to write.
        folder: where to write; it exists.
    """
    used = results.used_settings.model_dump_json(indent=2, exclude={"out", "name", "overwrite"})
    (folder / "settings.json").write_text(used, encoding="utf-8")
    write_csv(folder / "results.csv", _run_rows(results))
    write_csv(folder / "curves.csv", _epoch_rows(results))
    if results.command == "train":
        _write_weights(results, folder)
    if results.settings.keep_weights:
        _keep_weights(results, folder)
    (folder / RESULTS).write_text(results.model_dump_json(indent=2), encoding="utf-8")


def write_report(results: Results, data: Dataset, folder: Path) -> None:
    """Write ``report.html``, a page that needs no other file; and its pictures, as PNG files beside it.

    Args:
        results: what to show, with its networks.
        data: what the networks were trained on.
        folder: where to write; it exists.
    """
    from altprop.experiment.figures import pictures  # noqa: PLC0415  (matplotlib is slow to import)
    from altprop.experiment.report import render_report  # noqa: PLC0415

    drawn = pictures(results, data)
    for picture in drawn:
        (folder / f"{picture.name}.png").write_bytes(picture.light)
    (folder / "report.html").write_text(render_report(results, drawn), encoding="utf-8")


def _write_weights(results: Results, folder: Path) -> None:
    diverged = {run.seed for run in results.runs if run.divergence}
    for (_, seed), model in results.models.items():
        name = "model.pt" if len(results.models) == 1 else f"model-seed-{seed}.pt"
        if seed not in diverged:
            torch.save(model.state_dict(), folder / name)


def _keep_weights(results: Results, folder: Path) -> None:
    diverged = {(run.rule, run.seed) for run in results.runs if run.divergence}
    (folder / WEIGHTS).mkdir()
    for (rule, seed), model in results.models.items():
        if (rule, seed) not in diverged:
            # Copies, for safetensors takes no tensors that share memory.
            state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
            save_file(state, weights_file(folder, rule, seed))


def _run_rows(results: Results) -> Iterable[Mapping[str, Any]]:
    for run in results.runs:
        yield {
            "rule": run.rule,
            "seed": run.seed,
            "lr": run.lr,
            "clip": run.clip,
            "status": run.status,
            "epochs": len(run.epochs),
            f"test_{column(results.metric)}": run.score,
            "train_loss": run.epochs[-1].train_loss if run.epochs else None,
            "step_time_ratio": results.step_ratios.get(run.rule),
            "cosine": run.cosine,
            "sparsity": run.sparsity,
            "seconds": round(run.seconds, 3),
            "message": run.message(),
        }


def _epoch_rows(results: Results) -> Iterable[Mapping[str, Any]]:
    for run in results.runs:
        for epoch in run.epochs:
            yield {
                "rule": run.rule,
                "seed": run.seed,
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                f"test_{column(results.metric)}": epoch.score,
                "cosine": epoch.cosine,
                "sparsity": epoch.sparsity,
                "weight_cosine": epoch.weight_cosine,
                **{f"cosine_{layer}": cosine for layer, cosine in epoch.layer_cosines.items()},
                **{f"weight_cosine_{layer}": cosine for layer, cosine in epoch.layer_weight_cosines.items()},
            }


def column(metric: str) -> str:
    """The name of a score in a table for programs.

    Example:
        >>> column("R²"), column("squared error")
        ('r2', 'squared_error')
    """
    return metric.replace("²", "2").replace(" ", "_").lower()


def write_csv(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table for programs. What a row does not have stays empty.

    Args:
        file: where to.
        rows: by column.
    """
    rows = list(rows)
    # Rules may know layers of their own, so the rows need not have the same columns.
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns)
        writer.writeheader()
        writer.writerows(rows)
