"""Train networks by several rules side by side, and explain them: data, networks, the loop, results, reports.

    >>> from altprop.experiment import Settings, compare
    >>> results = compare(Settings(data="circles", model="8", rules="lfp", epochs=1, seeds=1, out=None))
    >>> [summary.rule for summary in results.summaries]
    ['backprop', 'lfp', 'shallow']

The command line ``altprop`` does the same.
"""

from altprop.experiment.errors import InputError, check_extra

check_extra()

from altprop.experiment.comparison import Interrupted, compare, train  # noqa: E402  (only with the extra installed)
from altprop.experiment.data import DATA, load_data  # noqa: E402
from altprop.experiment.dataset import Dataset  # noqa: E402
from altprop.experiment.explain_settings import ExplainSettings  # noqa: E402
from altprop.experiment.explaining import explain  # noqa: E402
from altprop.experiment.explanations import Explanations  # noqa: E402
from altprop.experiment.models import ACTIVATIONS, MODELS, build_model  # noqa: E402
from altprop.experiment.objectives import make_objective  # noqa: E402
from altprop.experiment.registry import RULES, make_rule  # noqa: E402
from altprop.experiment.results import Results  # noqa: E402
from altprop.experiment.settings import Settings  # noqa: E402

__all__ = [
    "ACTIVATIONS",
    "DATA",
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
