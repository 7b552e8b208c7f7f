"""Train networks by several rules side by side, and explain them: data, networks, the loop, results, reports.

    >>> from altprop.experiment import Settings, compare
    >>> results = compare(Settings(data="circles", model="8", rules="lfp", epochs=1, seeds=1, out=None))
    >>> [summary.rule for summary in results.summaries]
    ['backprop', 'lfp', 'shallow']

The command line ``altprop`` does the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from altprop.experiment.errors import InputError, check_extra

if TYPE_CHECKING:
    from altprop.experiment.comparison import Interrupted, compare, train
    from altprop.experiment.data.catalog import DATA_SETS
    from altprop.experiment.data.dataset import Dataset
    from altprop.experiment.data.embedded import DATA
    from altprop.experiment.data.memory import load_data
    from altprop.experiment.explaining.results import Explanations
    from altprop.experiment.explaining.running import explain
    from altprop.experiment.explaining.settings import ExplainSettings
    from altprop.experiment.networks.names import ACTIVATIONS, MODELS, build_model
    from altprop.experiment.objectives import make_objective
    from altprop.experiment.registry import RULES, make_rule
    from altprop.experiment.results import Results
    from altprop.experiment.settings import Settings

check_extra()

__all__ = [
    "ACTIVATIONS",
    "DATA",
    "DATA_SETS",
    "MODELS",
    "RULES",
    "Dataset",
    "ExplainSettings",
    "Explanations",
    "InputError",
    "Interrupted",
    "Results",
    "Settings",
    "build_model",
    "compare",
    "explain",
    "load_data",
    "make_objective",
    "make_rule",
    "train",
]

# Each is imported at its first use: who loads data need not wait for what draws the report.
_LATER = {
    "ACTIVATIONS": "networks.names",
    "DATA": "data.embedded",
    "DATA_SETS": "data.catalog",
    "MODELS": "networks.names",
    "RULES": "registry",
    "Dataset": "data.dataset",
    "ExplainSettings": "explaining.settings",
    "Explanations": "explaining.results",
    "Interrupted": "comparison",
    "Results": "results",
    "Settings": "settings",
    "build_model": "networks.names",
    "compare": "comparison",
    "explain": "explaining.running",
    "load_data": "data.memory",
    "make_objective": "objectives",
    "make_rule": "registry",
    "train": "comparison",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
