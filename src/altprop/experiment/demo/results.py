"""What the demo is asked for, and what came out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from altprop.experiment.explaining.results import Explained, Explanations
from altprop.experiment.options import Name, Options, parse_seeds
from altprop.experiment.records.study import Study

RULES, STEPS, EXPLAINED = "rules", "steps", "explanations"
"""The folders of the parts."""

BY = "lfp"
"""The rule whose network is explained."""


class DemoSettings(Options):
    """How long the demo takes, and where it goes."""

    epochs: int | None = Field(default=None, ge=1, description="Epochs of each training. Unset: what shows it.")
    seeds: Annotated[tuple[int, ...] | None, BeforeValidator(parse_seeds)] = Field(
        default=None, description="A count of seeds, or a list such as 0,3,7. Unset: 3."
    )
    out: Path = Field(default=Path("runs"), description="Folder of all results.")
    name: Name = Field(default="demo", description="Folder of these results, within --out.")
    overwrite: bool = Field(default=False, description="Replace an earlier demo of the same name.")


@dataclass(frozen=True)
class Demo:
    """What came out.

    Attributes:
        settings: what was asked for.
        rules: one network by every rule.
        steps: a network of steps by LFP, backprop and the control.
        explanations: of a few test samples, the misread one first.
        misread: the first test sample that the network of :data:`BY` misread; None if there is none.
        folder: where it was written.
    """

    settings: DemoSettings
    rules: Study
    steps: Study
    explanations: Explanations
    misread: Explained | None
    folder: Path

    @property
    def messages(self) -> list[str]:
        """What the reader should know."""
        found = (*self.rules.messages, *self.steps.messages, *self.explanations.notes)
        return list(dict.fromkeys(found))
