"""The data sets that come with a package or are generated, in parts."""

from __future__ import annotations

from dataclasses import replace

from altprop.experiment.data import DATA
from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import DataSection
from altprop.experiment.sources.choose import choose
from altprop.experiment.sources.splits import Splits, TensorExamples


def open_embedded(section: DataSection) -> Splits:
    """Open a data set of :data:`altprop.experiment.DATA`, in memory.

    Args:
        section: what to take of it.

    Raises:
        InputError: the section asks for what these data sets have not: files, another size, or an augmentation.
    """
    _check(section)
    data = DATA[section.name].load()
    splits, x, y = Splits.of(data), data.x_train, data.y_train
    if section.fraction < 1:
        chosen, _ = choose(y, section.fraction, section.seed, "fraction")
        x, y = x[chosen], y[chosen]
    validation = None
    if section.validation:
        held_out, rest = choose(y, section.validation, section.seed, "validation")
        validation = TensorExamples(x[held_out], y[held_out])
        x, y = x[rest], y[rest]
    splits = replace(splits, train=TensorExamples(x, y), validation=validation)
    return splits.reconstruction() if section.task == "reconstruction" else splits


def _check(section: DataSection) -> None:
    told = f"{section.name} comes with altprop as it is"
    if section.root is not None:
        raise InputError(f"{told}, and has no folder of files: leave out {section.root}.")
    if section.size is not None:
        raise InputError(f"{told}: leave data.size unset, or take a data set of image files.")
    if section.augment:
        raise InputError(f"{told}, and no augmentation is usual for it: leave data.augment at false.")
