"""Training by a recipe, on Lightning Fabric: the loop, its checkpoints and loggers, and the folder of a run.

:func:`fit` trains one network; :func:`train_recipe` trains one for each seed, into a folder; :func:`load_trained` reads
a network from such a folder.
"""

from altprop.experiment.fitting.fit import fit
from altprop.experiment.fitting.records import EpochFigures, Fit, StopTraining

__all__ = ["EpochFigures", "Fit", "StopTraining", "fit"]
