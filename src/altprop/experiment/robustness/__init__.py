"""Robustness: how accurate networks stay when their inputs are changed on purpose, in the worst direction."""

from altprop.experiment.robustness.attacks import attacked
from altprop.experiment.robustness.results import RobustnessResults
from altprop.experiment.robustness.running import robustness
from altprop.experiment.robustness.settings import RobustnessSettings

__all__ = ["RobustnessResults", "RobustnessSettings", "attacked", "robustness"]
