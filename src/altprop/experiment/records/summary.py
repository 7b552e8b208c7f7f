"""What the networks of one rule say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict

from altprop.experiment.records.statistics import Lead, Spread

_ABOUT = 0.2  # the width of: about as long as backprop's, give or take a tenth
_LEAST = 6  # with fewer rounds all of them together are no interval of 95 %


class Record(BaseModel):
    """What cannot be changed once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class StepTime(Record):
    """The time of a training step of a rule, relative to backprop's.

    Attributes:
        ratio: the median over rounds, in each of which both took a step.
        low: the lower end of a 95 % confidence interval of the median, from the order of the ratios.
        high: the upper end.
        rounds: how many there were.
    """

    ratio: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, ratios: Sequence[float]) -> StepTime:
        """The figure that the ratios of single rounds are, one at least."""
        ordered, count = sorted(ratios), len(ratios)
        # Of so many ratios, count / 2 ± sqrt(count) / 2 lie below the true median: two deviations make 95 %.
        below = max(0, math.floor(count / 2 - math.sqrt(count)))
        return cls(ratio=median(ordered), low=ordered[below], high=ordered[count - 1 - below], rounds=count)

    @property
    def holds(self) -> bool:
        """Whether the ratio says more than it wavers: how far it is from 1, or what it is, give or take a tenth.

        Example:
            >>> StepTime(ratio=1.3, low=1.2, high=1.4, rounds=60).holds
            True
            >>> StepTime(ratio=1.3, low=0.9, high=1.6, rounds=60).holds
            False
        """
        return self.rounds >= _LEAST and self.high - self.low <= max(abs(self.ratio - 1), _ABOUT)


class Summary(Record):
    """What the networks of one rule say together. Means are over those whose training was not broken off.

    Attributes:
        rule: the label of the rule.
        lr: its learning rate.
        seeds: how many networks count.
        test: their test scores.
        step_ratio: the time of a training step, relative to backprop's; None if it was not measured, or if it varied
            too much to be shown.
        cosine: the mean cosine between the rule's updates of the hidden layers and backprop's; None if there are no
            hidden layers.
        layer_cosines: the same for each layer, the output layer among them.
        layer_weight_cosines: the mean cosine between forward and feedback weights of each layer that has them.
        sparsity: the mean fraction of zeros in the updates.
        over_control: how far the score is better than the control's, seed by seed; None of the control itself.
        trouble: in a line, which networks did not finish; empty if all did.
    """

    rule: str
    lr: float | None
    seeds: int
    test: Spread
    step_ratio: float | None
    cosine: float | None
    layer_cosines: dict[str, float | None]
    layer_weight_cosines: dict[str, float | None]
    sparsity: float | None
    over_control: Lead | None
    trouble: str
