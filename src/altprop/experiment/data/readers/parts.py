"""What a reader finds in the files of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from altprop.experiment.data.images import Images
from altprop.experiment.data.preparing import Look


@dataclass(frozen=True)
class Part:
    """Images and their classes.

    Attributes:
        images: by number.
        targets: their classes, int64 of shape (images,).
    """

    images: Images
    targets: Tensor


@dataclass(frozen=True)
class Parts:
    """A data set as it is published.

    Attributes:
        train: what to train on.
        test: what to test on; None if the publishers left the split to the user.
        classes: their names.
        validation: for validation; None if the publishers named none.
        look: how the images are prepared, if that depends on the files.
    """

    train: Part
    test: Part | None
    classes: tuple[str, ...]
    validation: Part | None = None
    look: Look | None = None
