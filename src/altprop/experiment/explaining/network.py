"""What a network is that can be explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor, nn

from altprop.experiment.data.dataset import Dataset

TRAIN_FIRST = (
    "Name a network to explain with --model: the folder of a training run, or one of torchvision such as "
    "torchvision:vgg16:DEFAULT. For the digits, train one first: `altprop train --rule backprop --data digits "
    "--name my-digits`, then `altprop explain --model runs/my-digits --index 3`."
)
"""What to do without a network."""


@dataclass(frozen=True)
class Network:
    """A network that can be explained, and what it takes.

    Attributes:
        module: the network, in evaluation mode.
        name: a short name, fit for a folder's.
        summary: what it is, in words.
        prepare: turns an image into an input, of shape (channels, height, width); raises InputError if it takes none.
        low: the lowest value that an input can have, a number or a tensor that broadcasts to an input.
        high: the highest value.
        classes: the names of the outputs; empty if they have none.
        data: what it was trained on; None if that is not known.
        notes: what the reader should know.
    """

    module: nn.Module
    name: str
    summary: str
    prepare: Callable[[Image.Image], Tensor]
    low: float | Tensor
    high: float | Tensor
    classes: tuple[str, ...] = ()
    data: Dataset | None = None
    notes: tuple[str, ...] = ()
