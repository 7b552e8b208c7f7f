"""How images are prepared: their size, normalisation and augmentation, as is usual for a data set."""

# ruff: noqa: PLC0415  (torchvision takes long to import, and only sets of image files need it)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchvision.transforms.v2 import Transform

_MARGIN = 256 / 224
"""Photographs are brought to this multiple of the size before their centre is cut out, as is usual for ImageNet."""


@dataclass(frozen=True)
class Look:
    """The usual preparation of a data set's images.

    Attributes:
        size: height and width.
        mean: of each channel, of pixels from 0 to 1.
        deviation: the standard deviation of each channel.
        photo: whether the images are photographs of any size. They are resized and their centre is cut out; augmented,
            a random part is resized. Others are only resized, if they have another size.
        shift: augmentation moves images that are no photographs by up to this many pixels, with black coming in.
        mirrored: whether augmentation flips left and right.
        turned: whether augmentation flips top and bottom.
    """

    size: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    deviation: tuple[float, ...] = (0.229, 0.224, 0.225)
    photo: bool = False
    shift: int = 0
    mirrored: bool = True
    turned: bool = False

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return len(self.mean)

    @property
    def margin(self) -> int:
        """What the shorter side of a photograph is resized to, before its centre is cut out."""
        return _with_margin(self.size)

    def evaluation(self, size: int) -> Transform:
        """What brings an image to a size, always in the same way; images are uint8, (channels, height, width)."""
        from torchvision.transforms import v2

        if self.photo:
            return v2.Compose([v2.Resize(_with_margin(size), antialias=True), v2.CenterCrop(size)])
        return v2.Resize((size, size), antialias=True)

    def augmentation(self, size: int) -> Transform:
        """What brings an image to a size and changes it at random, drawing from torch's random state."""
        from torchvision.transforms import v2

        if self.photo:
            steps: list[Transform] = [v2.RandomResizedCrop(size, antialias=True)]
        else:
            steps = [v2.Resize((size, size), antialias=True)]
            steps += [v2.RandomCrop(size, padding=self.shift)] if self.shift else []
        steps += [v2.RandomHorizontalFlip()] if self.mirrored else []
        steps += [v2.RandomVerticalFlip()] if self.turned else []
        return v2.Compose(steps)

    def describe(self) -> str:
        """The augmentation, in words.

        Example:
            >>> Look(32, shift=4).describe()
            'shifted by up to 4 pixels, mirrored'
        """
        moved = f"shifted by up to {self.shift} pixels" if self.shift else ""
        moves = ["a random part" if self.photo else moved, "mirrored" * self.mirrored, "turned over" * self.turned]
        return ", ".join(filter(None, moves))


def _with_margin(size: int) -> int:
    return round(size * _MARGIN)
