"""Data sets of any size: in memory or on disk, cut into what trains, what validates and what tests."""

from altprop.experiment.sources.catalog import DATA_SETS, HUGGING_FACE, DataSet, find_data_set
from altprop.experiment.sources.describe import describe
from altprop.experiment.sources.loading import batches
from altprop.experiment.sources.memory import download_data, load_data
from altprop.experiment.sources.names import parse_data
from altprop.experiment.sources.opening import open_data
from altprop.experiment.sources.splits import Examples, Splits, TensorExamples

__all__ = [
    "DATA_SETS",
    "HUGGING_FACE",
    "DataSet",
    "Examples",
    "Splits",
    "TensorExamples",
    "batches",
    "describe",
    "download_data",
    "find_data_set",
    "load_data",
    "open_data",
    "parse_data",
]
