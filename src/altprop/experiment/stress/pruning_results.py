"""What came out of pruning."""

from __future__ import annotations

from typing import Literal

from altprop.experiment.records.statistics import LEAD_NOTE
from altprop.experiment.stress.output import Words
from altprop.experiment.stress.results import Point, StressResults
from altprop.experiment.stress.settings import PruneSettings


class PrunedPoint(Point):
    """A pruned network: ``kind`` is what it was ranked by, ``level`` the fraction that was pruned.

    Attributes:
        sparsity: the fraction of the weights of linear layers and convolutions that are zero.
    """

    sparsity: float


class PruneResults(StressResults):
    """What came out of pruning, see :class:`~altprop.experiment.stress.results.StressResults`.

    Attributes:
        command: ``"prune"``.
        settings: what was asked for.
        points: every network, pruned at every rate.
    """

    command: Literal["prune"] = "prune"
    settings: PruneSettings
    points: tuple[PrunedPoint, ...]

    @property
    def words(self) -> Words:
        """What it is called on the page."""
        settings = self.settings
        what = "channels and neurons" if settings.structured else "weights"
        where = "of each layer" if settings.per_layer else "of all layers together"
        tolerance = f"{settings.tolerance:g}"
        return Words(
            title=f"How much can go? {self.network} on {self.data.name}, pruned",
            subtitle="Networks of several learning rules, without the weights that matter least",
            kind="ranked by",
            level=f"{what} pruned",
            unit="{:.0%}",
            finer="{:.1%}",
            picture="What is left",
            caption="Mean over seeds; the bands are one standard deviation to either side. Nothing is trained again.",
            withstands=f"withstands (−{tolerance})",
            note=f"Withstands: up to what fraction the {self.metric} loses no more than {tolerance}, read off between "
            f"the rates. More than backprop: {LEAD_NOTE}.",
            facts={
                "pruned": f"{what}, {where}",
                "ranked on": f"{settings.samples} training samples"
                + (f"; relevance by {settings.composite}" if "relevance" in settings.by else ""),
            },
            command=settings.command("prune"),
        )
