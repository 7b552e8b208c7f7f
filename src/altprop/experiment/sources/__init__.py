"""Data sets of any size: in memory or on disk, cut into what trains, what validates and what tests."""

from altprop.experiment.sources.loading import batches
from altprop.experiment.sources.opening import open_data
from altprop.experiment.sources.splits import Examples, Splits, TensorExamples

__all__ = ["Examples", "Splits", "TensorExamples", "batches", "open_data"]
