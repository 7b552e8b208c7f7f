"""From what a recipe says of its data to the data."""

from __future__ import annotations

from altprop.experiment.data.catalog import find_data_set
from altprop.experiment.data.embedded import open_embedded
from altprop.experiment.data.examples import Splits
from altprop.experiment.data.names import parse_data
from altprop.experiment.data.on_disk import open_files
from altprop.experiment.data.section import DataSection
from altprop.experiment.errors import InputError


def open_data(section: DataSection) -> Splits:
    """Open a data set: find its files, choose the examples, hold out those for validation.

    Args:
        section: of a recipe: which data set, where, and what of it; a name may be ``NAME:ROOT`` too.

    Raises:
        InputError: there is no such data set, files are missing or broken, or too few examples are left; the message
            says which, and what to do.

    Example:
        >>> splits = open_data(DataSection(name="circles", fraction=0.5, validation=0.2))
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (400, 100, 500)
    """
    name, root = parse_data(section.name)
    if root is not None:
        if section.root is not None:
            raise InputError(f"{section.name} names a folder, and {section.root} is another: leave out one of them.")
        section = section.model_copy(update={"name": name, "root": root})
    known = find_data_set(name)
    return open_embedded(section) if known.read is None else open_files(section, known, known.read)
