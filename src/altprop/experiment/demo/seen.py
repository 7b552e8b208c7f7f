"""What was seen, in sentences: every number is of this run."""

from __future__ import annotations

from altprop.experiment.demo.results import BY, Demo
from altprop.experiment.labels import base_name
from altprop.experiment.records.statistics import LEVEL
from altprop.experiment.records.study import Study
from altprop.experiment.records.summary import Summary
from altprop.experiment.registry import CONTROL, REFERENCE


def headline(demo: Demo) -> list[str]:
    """What was seen, a sentence for each part."""
    return [_of_rules(demo.rules), _of_steps(demo.steps), _of_explanations(demo)]


def _of_rules(study: Study) -> str:
    """How many rules beat the control."""
    others = [one for one in study.summaries if base_name(one.rule) not in (REFERENCE, CONTROL)]
    ahead = [one for one in others if _is_ahead(one)]
    scores = [one.test.mean for one in ahead if one.test.mean is not None]
    control, reference = study.summary(CONTROL), study.summary(REFERENCE)
    count = f"all {len(others)}" if len(ahead) == len(others) else f"{len(ahead)} of {len(others)}"
    tested = f"paired t-test over {len(study.seeds)} seeds, level {LEVEL:g}" if len(study.seeds) > 1 else "one seed"
    span = f"{_span(scores)} against " if scores else ""
    behind = ", ".join(one.rule for one in others if one not in ahead)
    return (
        f"{study.recipe.model.name} on {study.data.name}, {_length(study)}: backprop reaches {reference.test.text()}, "
        f"and {count} other rules beat {CONTROL}, the control whose hidden layers learn nothing ({span}"
        f"{control.test.text()}; {tested})." + (f" Those that do not: {behind}." if behind else "")
    )


def _is_ahead(summary: Summary) -> bool:
    """Ahead of the control by the test; with one seed, where there is none, by the figures."""
    lead = summary.over_control
    return lead is not None and (lead.verdict == "yes" or (lead.p is None and lead.gain > 0))


def _of_steps(study: Study) -> str:
    """What backprop cannot."""
    rule = next(one for one in study.summaries if base_name(one.rule) not in (REFERENCE, CONTROL))
    control, reference = study.summary(CONTROL), study.summary(REFERENCE)
    same = {cell.seed: cell.score for cell in study.cells_of(REFERENCE)} == {
        cell.seed: cell.score for cell in study.cells_of(CONTROL)
    }
    why = ", the control's to the last digit: no gradient passes a step" if same else ""
    return (
        f"A network of steps, which have no derivative, {_length(study)}: {rule.rule} reaches {rule.test.text()}, "
        f"{REFERENCE} {reference.test.text()}{why}{'' if same else f', the control {control.test.text()}'}."
    )


def _of_explanations(demo: Demo) -> str:
    """Which sample was misread."""
    one = demo.misread
    if one is None:
        return f"The network that {BY} trained misreads no test sample."
    return (
        f"The network that {BY} trained takes test sample {demo.explanations.settings.index[0]}, a {one.true}, for a "
        f"{one.predicted_name}: the page shows which pixels spoke for it."
    )


def _length(study: Study) -> str:
    epochs = study.recipe.training.planned_epochs
    return f"{epochs} epoch{'s' * (epochs > 1)}"


def _span(scores: list[float]) -> str:
    low, high = min(scores), max(scores)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
