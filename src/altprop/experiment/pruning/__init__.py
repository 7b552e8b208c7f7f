"""Pruning: which weights matter, networks without those that do not, and what is left of their accuracy."""

from altprop.experiment.pruning.masks import prune_by
from altprop.experiment.pruning.results import PruneResults
from altprop.experiment.pruning.running import prune
from altprop.experiment.pruning.settings import PruneSettings

__all__ = ["PruneResults", "PruneSettings", "prune", "prune_by"]
