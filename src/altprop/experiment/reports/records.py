"""Runs of all kinds in one form, so that they fit into one report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from altprop.experiment.data.examples import Task
from altprop.experiment.metrics import METRICS
from altprop.experiment.records.kinds import read_record
from altprop.experiment.records.statistics import Spread, mean
from altprop.experiment.records.study import WHOLE

Kind = Literal["compare", "train", "jax"]


class Record(BaseModel):
    """What cannot be changed once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Point(Record):
    """One epoch of a network.

    Attributes:
        epoch: its number, from 1.
        train_loss: the mean objective over its samples.
        test: the score on the test data, after it: accuracy, R² or squared error.
        validation: likewise on what was held out; None if nothing was.
        tracked: what else was measured, by name.
    """

    epoch: int
    train_loss: float | None
    test: float | None
    validation: float | None = None
    tracked: dict[str, float | None] = {}


class Network(Record):
    """One network: a line of ``runs.csv``.

    Attributes:
        seed: of its initial weights and of the order of the batches.
        lr: the learning rate; None if it is not known.
        status: how its training ended, such as ``"finished"`` or ``"diverged"``.
        points: every whole epoch.
        judged: the epoch whose scores count: the best on validation data, or without these the last; None without any.
        seconds: how long it took; None if it is not known.
        message: what went wrong; empty if nothing did.
    """

    seed: int
    lr: float | None
    status: str
    points: tuple[Point, ...]
    judged: int | None
    seconds: float | None
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether its scores are among those that are averaged."""
        return self.status in WHOLE and self.figures is not None

    @property
    def figures(self) -> Point | None:
        """The epoch whose scores count."""
        return next((point for point in self.points if point.epoch == self.judged), None)


class Entry(Record):
    """The networks of one rule in one run: a row of a table.

    Attributes:
        run: the name of the run.
        rule: the label of the rule.
        data: the name of the data set.
        task: classification, regression or reconstruction.
        settings: what else was chosen, by dotted key of a recipe.
        seeds: how many were asked for.
        input_shape: the shape of one input; empty if it is not known.
        networks: one for each seed that was begun.
    """

    run: str
    rule: str
    data: str
    task: Task
    settings: dict[str, Any]
    seeds: int
    networks: tuple[Network, ...]
    input_shape: tuple[int, ...] = ()

    @property
    def metric(self) -> str:
        """The name of the scores: accuracy, R² or squared error."""
        return METRICS[self.task].name

    @property
    def counted(self) -> tuple[Network, ...]:
        """The networks whose scores are averaged."""
        return tuple(network for network in self.networks if network.counts)

    @property
    def test(self) -> Spread:
        """The test score over seeds."""
        return Spread.of(one.figures.test for one in self.counted if one.figures)

    @property
    def validation(self) -> Spread:
        """The validation score over seeds."""
        return Spread.of(one.figures.validation for one in self.counted if one.figures)

    @property
    def seconds(self) -> float | None:
        """The mean time of a network's training."""
        return mean(one.seconds for one in self.counted)

    @property
    def lr(self) -> float | None:
        """The learning rate."""
        return self.networks[0].lr if self.networks else None

    @property
    def epochs(self) -> str:
        """How many epochs were trained: a number, or the fewest and the most."""
        counts = sorted(len(one.points) for one in self.counted or self.networks)
        if not counts:
            return "0"
        return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}–{counts[-1]}"

    @property
    def trouble(self) -> str:
        """How the networks ended that do not count, as ``"1 of 3 diverged"``; empty if all do."""
        ends = [one.status if one.points or one.status not in WHOLE else "no epoch" for one in self.networks]
        ends = [end for one, end in zip(self.networks, ends, strict=True) if not one.counts]
        ends += ["not begun"] * (self.seeds - len(self.networks))
        return ", ".join(f"{ends.count(end)} of {self.seeds} {end}" for end in dict.fromkeys(ends))


class Source(Record):
    """One run that was read.

    Attributes:
        folder: where it is.
        name: what the report calls it.
        kind: ``"compare"``, ``"train"`` or ``"jax"``.
        recipe: everything about it, as YAML.
        entries: its rules.
        created: when, as ISO 8601; empty if it does not say.
        versions: of Python and the packages.
        git: the commit, and whether files differed from it; empty if that was not kept.
        command: what repeats it; empty if that is not known.
        notes: what the reader should know.
        has_weights: whether it keeps its networks.
    """

    folder: Path
    name: str
    kind: Kind
    recipe: str
    entries: tuple[Entry, ...]
    created: str = ""
    versions: dict[str, str] = {}
    git: str = ""
    command: str = ""
    notes: tuple[str, ...] = ()
    has_weights: bool = False


class Sweep(Record):
    """The best trials of a sweep.

    Attributes:
        folder: where it is.
        name: of the sweep.
        summary: what was searched, and how, in a line.
        header: the heads of the columns.
        rows: the trials, best first.
    """

    folder: Path
    name: str
    summary: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Stress(Record):
    """Results of ``altprop prune`` or ``altprop robustness``, which the report links.

    Attributes:
        folder: where they are.
        summary: of what, in a line.
    """

    folder: Path
    summary: str


class Found(Record):
    """All that the folders hold.

    Attributes:
        sources: the runs.
        sweeps: the sweeps.
        stresses: what is linked.
    """

    sources: tuple[Source, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    stresses: tuple[Stress, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The rules of all runs."""
        return tuple(entry for source in self.sources for entry in source.entries)


class Report(Record):
    """A report that was written.

    Attributes:
        report: says what the file is.
        folders: what was asked for.
        created: when, as ISO 8601.
        versions: of Python and the packages that wrote it.
        found: what it shows.
        notes: what the reader should know.
        folder: where it is; not saved with it.
    """

    report: Literal["merged"] = "merged"
    folders: tuple[str, ...]
    created: str
    versions: dict[str, str]
    found: Found
    notes: tuple[str, ...] = ()
    folder: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> Report:
        """Read an earlier report.

        Args:
            folder: what ``report.folder`` was.

        Raises:
            InputError: there is none, or it is damaged.
        """
        return cls.model_validate_json(read_record(Path(folder), "report"))
