"""Sweeps: search what a recipe leaves open, by many workers on many machines.

>>> from altprop.experiment.sweeps import SweepSettings
>>> SweepSettings(recipe="recipes/lenet.yaml", search="grid", name="rates").folder.as_posix()
'runs/rates'
"""

from altprop.experiment.sweeps.rates import BestRate, best_rates, remembered_rates
from altprop.experiment.sweeps.results import SweepResults
from altprop.experiment.sweeps.settings import SweepSettings
from altprop.experiment.sweeps.sweeping import SweepInterrupted, sweep
from altprop.experiment.sweeps.working import work

__all__ = [
    "BestRate",
    "SweepInterrupted",
    "SweepResults",
    "SweepSettings",
    "best_rates",
    "remembered_rates",
    "sweep",
    "work",
]
