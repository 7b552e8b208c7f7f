"""What came out of attacks."""

from __future__ import annotations

from typing import Literal

from altprop.experiment.records.statistics import LEAD_NOTE
from altprop.experiment.stress.output import Words
from altprop.experiment.stress.results import StressResults
from altprop.experiment.stress.settings import RobustnessSettings


class RobustnessResults(StressResults):
    """What came out of attacks, see :class:`~altprop.experiment.stress.results.StressResults`.

    Attributes:
        command: ``"robustness"``.
        settings: what was asked for.
        low: the lowest value of the training inputs.
        high: the highest. An attack of size 1 may change an entry by ``high - low``.
    """

    command: Literal["robustness"] = "robustness"
    settings: RobustnessSettings
    low: float
    high: float

    @property
    def words(self) -> Words:
        """What it is called on the page."""
        settings = self.settings
        tolerance = f"{settings.tolerance:g}"
        return Words(
            title=f"{self.network} on {self.data.name}, under attack",
            subtitle="Networks of several learning rules, and inputs that were changed to mislead them",
            kind="attack",
            level="ε",
            unit="{:.3g}",
            finer="{:.3f}",
            picture="Accuracy under attack",
            caption="Mean over seeds; the bands are one standard deviation to either side. Every network is attacked "
            "by its own true gradient, whatever rule trained it.",
            withstands=f"withstands (−{tolerance})",
            note=f"ε is the most that an entry of an input may change, as a fraction of the range of the training "
            f"inputs. Withstands: up to what ε the accuracy loses no more than {tolerance}, read off between the "
            f"sizes. More than backprop: {LEAD_NOTE}.",
            facts={
                "attacks": ", ".join(settings.attacks) + (f"; pgd in {settings.steps} steps of 2.5 ε in all"),
                "ε = 1": f"{self.high - self.low:.4g} in the units of the standardised inputs, which lie between "
                f"{self.low:.4g} and {self.high:.4g}",
            },
            command=settings.command("robustness"),
        )
