"""The table of networks that were trained by a recipe: what stands in it, and how it looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from rich.table import Table

from altprop.experiment.records.training import EpochFigures, Fit, Training

HEADER = ("seed", "lr", "epochs", "best", "training loss", "validation", "test", "time", "")


def judged(fit: Fit) -> EpochFigures | None:
    """The figures by which a network is judged: of the best epoch on validation data, or without these of the last.

    Example:
        >>> first = EpochFigures(epoch=1, step=9, lr=0.1, train_loss=0.7, train_score=0.8, val_score=0.9)
        >>> last = EpochFigures(epoch=2, step=18, lr=0.1, train_loss=0.5, train_score=0.9, val_score=0.8)
        >>> judged(Fit(seed=0, lr=0.1, status="finished", history=(first, last), seconds=1, best_epoch=1)).epoch
        1
    """
    if not fit.history:
        return None
    validated = fit.history[-1].val_score is not None
    return next((one for one in fit.history if validated and one.epoch == fit.best_epoch), fit.history[-1])


def row(fit: Fit) -> list[str]:
    """The cells of a network, in the order of :data:`HEADER`."""
    figures = judged(fit)
    numbers = (figures.train_loss, figures.val_score, figures.test_score) if figures else (None, None, None)
    return [
        str(fit.seed),
        f"{fit.lr:g}",
        str(len(fit.history)),
        "–" if fit.best_epoch is None else str(fit.best_epoch),
        *map(_number, numbers),
        f"{fit.seconds:.1f} s",
        "" if fit.status == "finished" else fit.status,
    ]


def terminal_table(training: Training) -> Table:
    """The table for a terminal; with several networks, their mean test score and its deviation stand below."""
    recipe = training.recipe
    title = f"{training.data.name} · {recipe.model.name} · {recipe.rule.name}"
    table = Table(title=title, caption=_caption(training.fits, training.metric))
    for name in HEADER:
        table.add_column(name, justify="right")
    for fit in training.fits:
        table.add_row(*row(fit))
    return table


def _caption(fits: Sequence[Fit], metric: str) -> str:
    scores = [figures.test_score for fit in fits if (figures := judged(fit)) and figures.test_score is not None]
    figure = f", test {mean(scores):.3f} ± {stdev(scores):.3f} over {len(scores)} seeds" if len(scores) > 1 else ""
    return f"{metric}{figure}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
