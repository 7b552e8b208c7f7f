"""Images by number, in memory or in files, and examples made of them."""

# ruff: noqa: PLC0415  (torchvision takes long to import, and only sets of image files need it)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from altprop.experiment.data.preparing import Look
from altprop.experiment.errors import InputError

if TYPE_CHECKING:
    from torchvision.transforms.v2 import Transform


class Images(Protocol):
    """Images by number."""

    def __len__(self) -> int:
        """How many there are."""

    def image(self, number: int) -> Tensor:
        """One of them: uint8 of shape (channels, height, width).

        Raises:
            InputError: it cannot be read; the message names the file.
        """


@dataclass(frozen=True)
class PixelImages:
    """Images in memory.

    Attributes:
        pixels: uint8 of shape (images, channels, height, width).
    """

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, number: int) -> Tensor:
        """See :class:`Images`."""
        return self.pixels[number]


@dataclass(frozen=True)
class FileImages:
    """Images in files, read in colour whenever they are asked for.

    Attributes:
        files: one for each.
    """

    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    def image(self, number: int) -> Tensor:
        """See :class:`Images`."""
        return decoded(lambda: Image.open(self.files[number]), "RGB", str(self.files[number]))


def decoded(read: Callable[[], Image.Image], mode: str, where: str) -> Tensor:
    """The pixels of an image: uint8 of shape (channels, height, width).

    Args:
        read: opens it.
        mode: ``"RGB"``, or ``"L"`` for grey.
        where: it is, for errors.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with read() as image:
            pixels = torch.from_numpy(np.array(image.convert(mode)))
    # What is no image makes pillow raise all sorts of errors: Unidentified, Syntax, Value, EOF, DecompressionBomb.
    except Exception as error:
        told = "it is not there" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise InputError(
            f"{where} cannot be read as an image ({told}): put the original back, or leave it out."
        ) from error
    return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1)


@dataclass(frozen=True)
class ImageExamples:
    """Examples that are prepared, and augmented, whenever they are asked for.

    Attributes:
        images: of which these are some.
        numbers: which of the images, int64 of shape (examples,).
        targets: the class of each example, int64 of shape (examples,).
        look: how images are prepared.
        size: the height and width that they are brought to.
        augment: whether they are augmented in epochs from 1.
        seed: of the augmentation.
    """

    images: Images
    numbers: Tensor
    targets: Tensor
    look: Look
    size: int
    augment: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def at_hand(self) -> bool:
        """Whether the examples are in memory as they are needed, so that processes that prepare them would not help."""
        return not self.augment and self._fitting is not None

    def batch(self, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """See :class:`~altprop.experiment.data.examples.Examples`."""
        from torchvision.transforms.v2 import functional as F

        if self._fitting is not None and not (self.augment and epoch):
            pixels = self._fitting[self.numbers[indices]]
        elif self.augment and epoch:
            pixels = self._augmented(indices.tolist(), epoch)
        else:
            pixels = torch.stack([self._evaluation(self.images.image(n)) for n in self.numbers[indices].tolist()])
        x = F.normalize(F.to_dtype(pixels, torch.float32, scale=True), list(self.look.mean), list(self.look.deviation))
        return x, self.targets[indices]

    def _augmented(self, indices: list[int], epoch: int) -> Tensor:
        images = []
        # Torchvision's transforms draw from torch's own generator of the CPU: it is put back where it was. Only that
        # one: torch.manual_seed would move those of the accelerators too.
        with torch.random.fork_rng(devices=()):
            for index in indices:
                torch.default_generator.manual_seed(_mixed(self.seed, epoch, index))
                images.append(self._augmentation(self.images.image(int(self.numbers[index]))))
        return torch.stack(images)

    @cached_property
    def _evaluation(self) -> Transform:
        return self.look.evaluation(self.size)

    @cached_property
    def _augmentation(self) -> Transform:
        return self.look.augmentation(self.size)

    @cached_property
    def _fitting(self) -> Tensor | None:
        """The pixels of images in memory that have the right size already."""
        pixels = self.images.pixels if isinstance(self.images, PixelImages) else None
        return pixels if pixels is not None and pixels.shape[2:] == (self.size, self.size) else None


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
