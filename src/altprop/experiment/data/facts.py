"""What networks were trained on, in a few words that are saved with the results."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from altprop.experiment.data.examples import Splits, Task


class DataFacts(BaseModel):
    """What the networks were trained on.

    Attributes:
        name: of the data set.
        task: classification, regression or reconstruction.
        input_shape: the shape of one input.
        outputs: classes, or numbers to predict.
        train: the number of training samples.
        test: the number of test samples.
        validation: the number of validation samples.
        classes: the names of the classes; empty if they have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    train: int
    test: int
    validation: int = 0
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, splits: Splits) -> DataFacts:
        """The facts of a data set."""
        return cls(
            name=splits.name,
            task=splits.task,
            input_shape=splits.input_shape,
            outputs=splits.outputs,
            train=len(splits.train),
            test=len(splits.test),
            validation=0 if splits.validation is None else len(splits.validation),
            classes=splits.classes,
        )
