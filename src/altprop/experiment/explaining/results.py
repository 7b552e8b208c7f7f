"""What came out of explaining."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from altprop.experiment.explaining.settings import ExplainSettings
from altprop.experiment.records.files import read_checked
from altprop.experiment.records.kinds import read_record

RELEVANCE = "relevance.pt"
"""The file of the inputs and of each rule's relevance."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Explained(_Record):
    """One input, and what the network makes of it.

    Attributes:
        name: its file, or its place in the data set.
        true: the class that it has, as far as that is known.
        predicted: the number of the highest output.
        predicted_name: the class that it stands for.
        score: the highest output.
        target: the number of the output that is explained.
        target_name: the class that it stands for.
        output: the output that is explained.
    """

    name: str
    true: str | None
    predicted: int
    predicted_name: str
    score: float
    target: int
    target_name: str
    output: float

    @property
    def caption(self) -> str:
        """What is to be known of it, in two or three lines."""
        true = [] if self.true is None else [f"true: {self.true}"]
        other = "" if self.predicted == self.target else f" (predicted: {self.predicted_name})"
        return "\n".join([self.name, *true, f"explained: {self.target_name}{other}"])


class Outcome(_Record):
    """What one rule gave, for each input in its turn.

    Attributes:
        composite: its label.
        sums: the sum of the relevance.
        deltas: the convergence delta: the explained output minus the sum.
        seconds: how long it took for all of them.
    """

    composite: str
    sums: tuple[float, ...]
    deltas: tuple[float, ...]
    seconds: float

    @property
    def mean_sum(self) -> float:
        """The sum of the relevance, averaged over inputs."""
        return fmean(self.sums)

    @property
    def mean_delta(self) -> float:
        """The convergence delta, averaged over inputs."""
        return fmean(self.deltas)


class Explanations(BaseModel):
    """What came out of explaining.

    Attributes:
        command: ``"explain"``.
        settings: what was asked for.
        network: what was explained, in words.
        data: the inputs, in words.
        created: the date and time of the end, in UTC.
        versions: of the packages, and the device.
        inputs: the inputs, and what the network makes of them.
        outcomes: what each rule gave.
        interrupted: whether it was stopped before its end; then the outcomes are those that there were by then.
        notes: what the reader should know.
        folder: where it was written.
        samples: the inputs as the network saw them, of shape (inputs, ...).
        relevance: by composite, of the samples' shape.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, ser_json_inf_nan="null")

    command: Literal["explain"] = "explain"
    settings: ExplainSettings
    network: str
    data: str
    created: str
    versions: dict[str, str]
    inputs: tuple[Explained, ...]
    outcomes: tuple[Outcome, ...]
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    folder: Path | None = Field(default=None, exclude=True)
    samples: Tensor = Field(exclude=True, repr=False)
    relevance: dict[str, Tensor] = Field(exclude=True, repr=False)

    @classmethod
    def load(cls, folder: Path | str) -> Explanations:
        """Read what was written.

        Args:
            folder: what ``explanations.folder`` was.

        Raises:
            InputError: there are none, or they are damaged.
        """
        fields = json.loads(read_record(Path(folder), "explanation"))
        tensors = torch.load(BytesIO(read_checked(Path(folder) / RELEVANCE)), weights_only=True)
        return cls(**fields, samples=tensors["inputs"], relevance=tensors["relevance"])

    @property
    def mean_output(self) -> float:
        """The explained output, averaged over inputs."""
        return fmean(one.output for one in self.inputs)
