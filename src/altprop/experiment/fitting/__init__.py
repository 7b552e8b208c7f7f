"""Training by a recipe, on Lightning Fabric: the loop, its checkpoints and loggers, and the folder of a run.

:func:`fit` trains one network; :func:`train_recipe` trains one for each seed, into a folder; :func:`load_trained` reads
a network from such a folder.
"""

from altprop.experiment.fitting.fit import fit
from altprop.experiment.fitting.loading import load_trained
from altprop.experiment.fitting.records import EpochFigures, Fit, StopTraining, Training
from altprop.experiment.fitting.training import train_recipe

__all__ = ["EpochFigures", "Fit", "StopTraining", "Training", "fit", "load_trained", "train_recipe"]
