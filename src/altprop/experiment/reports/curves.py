"""The curves of training, of a study and of runs side by side: what changed from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from altprop.experiment.data.examples import Task
from altprop.experiment.labels import base_name
from altprop.experiment.metrics import METRICS
from altprop.experiment.records.study import HIDDEN_COSINE, Cell, Study
from altprop.experiment.registry import REFERENCE
from altprop.experiment.reports.drawing import Bars, Curve, Curves, Panel, is_number, side_by_side
from altprop.experiment.reports.picture import Drawn
from altprop.experiment.reports.records import Network, Point
from altprop.experiment.reports.tables import Group
from altprop.experiment.reports.theme import MUTED

_WIDE = (4.5, 3.3)
_LOSS = "Training loss"
_MEASURED = {
    HIDDEN_COSINE: "Cosine with backprop's updates, hidden layers",
    "bp_cosine": "Cosine with backprop's updates, all layers",
    "norm_ratio": "Length: times backprop's updates",
    "weight_norm": "Length of the weights",
    "sparsity": "Zeros in the updates",
    "weight_alignment": "Forward and feedback weights: cosine",
}


def learning_curves(study: Study) -> Drawn | None:
    """The test score and the training loss of each rule, epoch by epoch."""
    cells = _in_view(study)
    losses = [one.train_loss for cell in cells for one in cell.history if one.train_loss is not None]
    if not losses:
        return None
    scores = {rule: [[one.test_score for one in cell.epochs] for cell in study.cells_of(rule)] for rule in study.rules}
    fits = {rule: [[one.train_loss for one in cell.history] for cell in study.cells_of(rule)] for rule in study.rules}
    panels = [
        Curves(
            f"Test {study.metric}",
            {rule: Curve.over(runs, first=0) for rule, runs in scores.items()},
            better=_better(study.data.task),
            **_limits(cells),
        ),
        Curves(
            f"{_LOSS} ({study.objective})",
            {rule: Curve.over(runs) for rule, runs in fits.items()},
            better="low",
            **_limits_of_losses(losses),
        ),
    ]
    return side_by_side(panels, study.rules, size=_WIDE)


def _in_view(study: Study) -> list[Cell]:
    """The cells that a picture has to show: those of a rule that fell behind the control may run out of it."""
    leads = {summary.rule: summary.over_control for summary in study.summaries}
    lost = {rule for rule, lead in leads.items() if lead and lead.gain < 0}
    cells = [cell for cell in study.cells if cell.rule not in lost and cell.history]
    return cells or [cell for cell in study.cells if cell.history]


def _better(task: Task) -> Any:
    return "low" if METRICS[task].lower_is_better else "high"


def _limits(cells: Sequence[Cell]) -> dict[str, Any]:
    """Limits that show the differences: the first few epochs, where scores are low, may be cut off."""
    scores = [
        one.test_score for cell in cells for one in cell.history[len(cell.history) // 8 :] if one.test_score is not None
    ]
    low, high = max(min(scores), -0.2), max(*scores, -0.1)
    return {"bottom": low - 0.08 * (high - low) - 0.002, "top": min(1.0, high) + 0.08 * (high - low) + 0.002}


def _limits_of_losses(losses: Sequence[float]) -> dict[str, Any]:
    """Losses that fall far are shown by their logarithms."""
    if min(losses) > 0 and max(losses) > 10 * min(losses):
        return {"log": True, "bottom": 0.7 * min(losses), "top": 1.4 * max(losses)}
    return {}


def alignment(study: Study) -> Drawn | None:
    """The angle between each rule's updates and backprop's: over time, and for each layer."""
    rules = [rule for rule in study.rules if base_name(rule) != REFERENCE]
    layers = {rule: study.summary(rule).layer_cosines for rule in rules}
    return _angles(study, HIDDEN_COSINE, layers, "backprop's update", "Hidden layers, while training")


def weight_alignment(study: Study) -> Drawn | None:
    """The angle between forward and feedback weights: over time, and for each layer."""
    layers = {summary.rule: summary.layer_weight_cosines for summary in study.summaries}
    return _angles(study, "weight_alignment", layers, "forward weights", "All layers, while training")


def angle(cosine: float | None) -> float | None:
    """An angle in degrees."""
    return None if cosine is None else math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _angles(
    study: Study, name: str, layers: Mapping[str, Mapping[str, float | None]], what: str, title: str
) -> Drawn | None:
    heights = {
        rule: {layer: angle(cosine) for layer, cosine in own.items()}
        for rule, own in layers.items()
        if any(value is not None for value in own.values())
    }
    if not heights:
        return None
    over_time = {
        rule: Curve.over([[angle(one.tracked.get(name)) for one in cell.epochs] for cell in study.cells_of(rule)], 0)
        for rule in heights
    }
    reached = [
        *(end for one in over_time.values() for end in one.ends),
        *(height for own in heights.values() for height in own.values() if height is not None),
    ]
    dress = partial(_degrees, 1.05 * max(90.0, *reached))
    panels: list[Panel] = [
        Curves(title, over_time, up=f"angle with {what}", better=None, dress=dress),
        Bars("Each layer, mean over training", heights, dress=dress),
    ]
    return side_by_side(panels, study.rules, size=_WIDE)


def _degrees(top: float, axes: Any) -> None:
    axes.axhline(90, color=MUTED, linewidth=0.8, zorder=0.5)
    axes.set_ylim(0, top)
    axes.set_yticks(range(0, 181, 30) if top > 100 else range(0, 91, 15))
    axes.yaxis.set_major_formatter("{x:g}°")


def draw_curves(group: Group) -> Drawn | None:
    """The scores and the training loss of runs side by side, epoch by epoch."""
    score = {"better": _better(group.entries[0].task)} | _limits_of_scores(group)
    loss = Value(_LOSS, lambda point: point.train_loss)
    values = [
        (Value(f"Test {group.metric}", lambda point: point.test), score),
        (Value(f"Validation {group.metric}", lambda point: point.validation), score),
        (loss, {"better": "low"} | _limits_of_losses(loss.all(group) or [0.0])),
    ]
    return _side_by_side(group, values)


def draw_measured(group: Group) -> Drawn | None:
    """What was measured, likewise."""
    names = dict.fromkeys(name for _, point in _points(group) for name in point.tracked)
    values = [Value(_MEASURED.get(name, name), partial(_tracked, name)) for name in names]
    return _side_by_side(group, [(value, {"better": None}) for value in values])


@dataclass(frozen=True)
class Value:
    """What a panel shows of each epoch."""

    title: str
    of: Callable[[Point], float | None]

    def all(self, group: Group) -> list[float]:
        """All there are, as far as they are finite."""
        return [value for _, point in _points(group) if is_number(value := self.of(point))]


def _side_by_side(group: Group, values: Sequence[tuple[Value, Mapping[str, Any]]]) -> Drawn | None:
    labels = group.labels()
    panels = [
        Curves(
            value.title,
            {
                label: Curve.over([[value.of(point) for point in network.points] for network in entry.networks])
                for label, entry in zip(labels, group.entries, strict=True)
            },
            **look,
        )
        for value, look in values
    ]
    return side_by_side(panels, labels)


def _tracked(name: str, point: Point) -> float | None:
    return point.tracked.get(name)


def _limits_of_scores(group: Group) -> dict[str, Any]:
    """Bands of scores end at 1, and R² below -0.2 is cut off."""
    if not group.metric.endswith(("accuracy", "R²")):
        return {}

    def limit(axes: Any) -> None:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.25), max(min(high, 1.03), 0.0))

    return {"dress": limit}


def _points(group: Group) -> list[tuple[Network, Point]]:
    return [(one, point) for entry in group.entries for one in entry.networks for point in one.points]
