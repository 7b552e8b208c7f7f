"""The tables of a report: one for each data set and task, for people, for programs and for papers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from altprop.experiment.data.dataset import Task
from altprop.experiment.output import column
from altprop.experiment.reports.records import Entry, Network
from altprop.experiment.reports.settings import differing, short, word


@dataclass(frozen=True)
class Group:
    """All that was trained on one data set, for one task: what can be compared.

    Attributes:
        data: the name of the data set.
        task: classification, regression or reconstruction.
        entries: the rules of the runs.
    """

    data: str
    task: Task
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """The data set; with the task where it is not that of the data."""
        return f"{self.data}, reconstruction" if self.task == "reconstruction" else self.data

    @property
    def metric(self) -> str:
        """The name of the scores."""
        return self.entries[0].metric

    @property
    def is_2d(self) -> bool:
        """Whether decision boundaries can be drawn: points in the plane have classes."""
        return self.task == "classification" and any(entry.input_shape == (2,) for entry in self.entries)

    def labels(self) -> list[str]:
        """What each entry is called in a picture: as briefly as tells it from the others."""
        rules, runs = ([getattr(entry, name) for entry in self.entries] for name in ("rule", "run"))
        if len(set(rules)) == len(rules):
            return rules
        return (
            runs if len(set(runs)) == len(runs) else [f"{rule}, {run}" for rule, run in zip(rules, runs, strict=True)]
        )


def groups_of(entries: Iterable[Entry]) -> list[Group]:
    """The entries by data set and task, in the order in which these come up."""
    found: dict[tuple[str, Task], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.data, entry.task), []).append(entry)
    return [Group(data, task, tuple(own)) for (data, task), own in found.items()]


def header(group: Group) -> list[str]:
    """The heads of the columns."""
    score = f"test {group.metric}"
    chosen = _names(differing(group.entries))
    held_out = [f"validation {group.metric}"] if _has_validation(group) else []
    trouble = ["left out"] if _has_trouble(group) else []
    return ["run", "rule", *chosen, "lr", score, *held_out, "seeds", "epochs", "time", *trouble]


def rows(group: Group) -> list[list[str]]:
    """The cells of each entry, in the order of :func:`header`."""
    keys = differing(group.entries)
    validation, trouble = _has_validation(group), _has_trouble(group)
    return [
        [
            entry.run,
            entry.rule,
            *(word(entry.settings.get(key)) for key in keys),
            word(entry.lr),
            entry.test.text(),
            *([entry.validation.text()] if validation else []),
            str(len(entry.counted)),
            entry.epochs,
            "–" if entry.seconds is None else f"{entry.seconds:.1f} s",
            *([entry.trouble] if trouble else []),
        ]
        for entry in group.entries
    ]


def shared(group: Group) -> str:
    """What all entries have in common, of what matters most, in a line."""
    apart, first = differing(group.entries), group.entries[0].settings
    keys = ("model.name", "model.activation", "optimizer.name", "objective.name", "training.batch_size")
    return ", ".join(f"{short(key)} {word(first[key])}" for key in keys if key in first and key not in apart)


def as_markdown(groups: Sequence[Group]) -> str:
    """The tables as Markdown, ready for a paper's appendix."""
    return "\n".join(_markdown(group) for group in groups)


def _markdown(group: Group) -> str:
    heads = header(group)
    lines = [heads, ["---"] * 2 + ["---:"] * (len(heads) - 2), *rows(group)]
    table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    same = shared(group)
    note = "Mean ± standard deviation over seeds." + (f" In all rows: {same}." if same else "")
    return f"## {group.title}\n\n{table}\n\n{note}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def entry_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A line for each rule of each run, for programs. Scores of each kind have a column of their own."""
    return [_entry_row(group, entry) for group in groups for entry in group.entries]


def _entry_row(group: Group, entry: Entry) -> dict[str, Any]:
    score = column(group.metric)
    return {
        "data": entry.data,
        "task": entry.task,
        "run": entry.run,
        "rule": entry.rule,
        "lr": entry.lr,
        f"test_{score}_mean": entry.test.mean,
        f"test_{score}_sd": entry.test.deviation,
        f"validation_{score}_mean": entry.validation.mean,
        f"validation_{score}_sd": entry.validation.deviation,
        "seeds": len(entry.counted),
        "seeds_asked": entry.seeds,
        "epochs": entry.epochs.replace("–", "-"),
        "seconds_mean": entry.seconds,
        "left_out": entry.trouble,
        **entry.settings,
    }


def network_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A line for each network, for programs."""
    return [
        _network_row(group, entry, network) for group in groups for entry in group.entries for network in entry.networks
    ]


def _network_row(group: Group, entry: Entry, network: Network) -> dict[str, Any]:
    score, figures = column(group.metric), network.figures
    return {
        "data": entry.data,
        "task": entry.task,
        "run": entry.run,
        "rule": entry.rule,
        "seed": network.seed,
        "lr": network.lr,
        "status": network.status,
        "counts": network.counts,
        "epochs": len(network.points),
        "judged_epoch": network.judged,
        f"test_{score}": figures and figures.test,
        f"validation_{score}": figures and figures.validation,
        "train_loss": figures and figures.train_loss,
        "seconds": network.seconds,
        "message": network.message,
        **entry.settings,
    }


def _names(keys: Sequence[str]) -> list[str]:
    """Short names of columns; whole keys where these would be the same."""
    brief = [short(key) for key in keys]
    return [name if brief.count(name) == 1 else key for name, key in zip(brief, keys, strict=True)]


def _has_validation(group: Group) -> bool:
    return any(entry.validation.mean is not None for entry in group.entries)


def _has_trouble(group: Group) -> bool:
    return any(entry.trouble for entry in group.entries)
