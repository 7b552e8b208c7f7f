"""The section of a recipe that says what to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from altprop.experiment.data.names import parse_data
from altprop.experiment.sections import Fraction, Section, Seed


class DataSection(Section):
    """What to train on.

    Attributes:
        name: of the data set; see ``altprop data list``.
        root: the folder of its files. Unset: ``data`` in the working directory, where downloads go too.
        download: whether to download what is missing.
        task: ``"reconstruction"`` trains an autoencoder of the inputs. Unset: what the data set is for.
        fraction: of the training examples to use, drawn by ``seed``, in the same proportions of classes.
        validation: the fraction of the training examples that is held out for validation.
        seed: of the choice of examples, and of the validation split.
        augment: whether to augment the training images in the way that is usual for the set.
        size: the height and width that images are brought to. Unset: what is usual for the set.
        workers: processes that read and decode files; 0 reads in the training process.
    """

    name: str = "digits"
    root: Path | None = None
    download: bool = False
    task: Literal["reconstruction"] | None = None
    fraction: float = Field(default=1.0, gt=0, le=1)
    validation: Fraction = 0.0
    seed: Seed = 0
    augment: bool = False
    size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    workers: int = Field(default=0, ge=0, le=1024)

    @classmethod
    def of_text(cls, text: str) -> dict[str, Any]:
        """The name of the set, and its folder after a colon."""
        name, root = parse_data(text)
        return {"name": name} if root is None else {"name": name, "root": root}
