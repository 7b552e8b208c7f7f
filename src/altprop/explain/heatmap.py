"""Pictures of relevance: heat maps, overlays, grids of inputs and rules, coloured text.

Relevance of images has the shape (height, width), (channels, height, width) or (batch, channels, height, width), as a
tensor on any device or as an array. Red stands for what speaks for the explained output, blue for what speaks against
it.

    >>> import torch
    >>> from altprop.explain import heatmap
    >>> relevance = torch.tensor([[-1.0, 0.0, 1.0]])
    >>> heatmap.image(relevance, zoom=8).size
    (24, 8)

This module needs matplotlib and pillow, which the extra ``altprop[explain]`` brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from altprop._extras import how_to_install

try:
    import numpy as np
    from matplotlib.figure import Figure
    from PIL import Image

    from altprop.explain._colors import Relevance, colors, grey, pixels, scaled, size_of
    from altprop.explain._grid import grid
    from altprop.explain._tokens import tokens_html
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"Pictures need {error.name}, which is not installed. Install it with: {how_to_install('explain')}",
        name=error.name,
    ) from None

__all__ = ["colors", "grid", "image", "overlay", "save", "tokens_html"]


def image(relevance: Relevance, *, zoom: int = 1, **look: Any) -> Image.Image | list[Image.Image]:
    """Draw relevance as a picture, a pixel for each of its pixels.

    Args:
        relevance: as for :func:`colors`.
        zoom: how many pixels wide and high to draw each one.
        **look: the other arguments of :func:`colors`.

    Returns:
        An RGB image; for a batch, a list of them.

    Raises:
        TypeError: as for :func:`colors`.
        ValueError: as for :func:`colors`; or ``zoom`` is not a positive whole number.
    """
    return _images(colors(relevance, **look), zoom)


def overlay(
    relevance: Relevance, inputs: Relevance, *, alpha: float = 0.9, zoom: int = 1, **look: Any
) -> Image.Image | list[Image.Image]:
    """Draw relevance over the input in grey: the stronger the relevance, the less of the input shows through.

    Args:
        relevance: as for :func:`colors`.
        inputs: what was explained, of the relevance's height and width; its channels are averaged. Each image's values
            are spread from black to white.
        alpha: how opaque the strongest relevance is, from 0 to 1.
        zoom: as for :func:`image`.
        **look: the other arguments of :func:`colors`, but for ``channels``, which are summed.

    Returns:
        As :func:`image`.

    Raises:
        TypeError: as for :func:`colors`.
        ValueError: as for :func:`image`; or the input does not fit the relevance, or ``alpha`` is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is from 0 to 1, got {alpha}.")
    if "channels" in look:
        raise ValueError("An overlay sums the relevance over channels: leave out channels=.")
    heat, under = colors(relevance, **look), grey(inputs)
    if under.shape != heat.shape[:-1]:
        raise ValueError(
            f"The input does not fit the relevance: {tuple(np.shape(inputs))} has images of {size_of(under)}, "
            f"{tuple(np.shape(relevance))} has images of {size_of(heat[..., 0])}."
        )
    together = look.get("scale") == "all"
    strength = scaled(pixels(relevance, "sum")[0], percentile=look.get("percentile", 100.0), together=together).abs()
    # The square root makes weak relevance, already pale in colour, visible.
    opacity = alpha * strength.sqrt().numpy().reshape(*under.shape, 1)
    mixed = (1 - opacity) * 255 * under[..., None] + opacity * heat
    return _images(mixed.round().astype(np.uint8), zoom)


def save(picture: Image.Image | Figure | Relevance, file: Path | str, **options: Any) -> Path:
    """Write a picture to a PNG file, whole or not at all.

    Args:
        picture: an image, a figure, or the relevance of one input.
        file: where to write; its name ends in ``.png``. A file that is there is replaced.
        **options: of :func:`image` for relevance, of matplotlib's ``savefig`` for a figure, such as ``dpi=160``.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
        TypeError: as for :func:`colors`.
        ValueError: as for :func:`image`; or the name does not end in ``.png``, or there are several pictures.
    """
    file = Path(file)
    if file.suffix.lower() != ".png":
        raise ValueError(f"Pictures are written as PNG: choose a name that ends in .png, got {file.name!r}.")
    content = BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(content, **{"dpi": 160, **options, "format": "png"})
    else:
        _one(picture, options).save(content, format="png")
    part = file.with_name(f".{file.name}-{uuid4().hex[:8]}")
    try:
        part.write_bytes(content.getvalue())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return file


def _images(painted: np.ndarray, zoom: int) -> Image.Image | list[Image.Image]:
    if not isinstance(zoom, int) or zoom < 1:
        raise ValueError(f"zoom is a whole number from 1, got {zoom!r}.")
    if painted.ndim == 4:
        return [Image.fromarray(_zoomed(one, zoom)) for one in painted]
    return Image.fromarray(_zoomed(painted, zoom))


def _zoomed(painted: np.ndarray, zoom: int) -> np.ndarray:
    return np.ascontiguousarray(painted.repeat(zoom, axis=0).repeat(zoom, axis=1))


def _one(picture: Image.Image | Relevance, options: Mapping[str, Any]) -> Image.Image:
    if isinstance(picture, Image.Image):
        if options:
            raise ValueError(f"The image is drawn already: {', '.join(options)} can no longer be chosen.")
        return picture
    drawn = image(picture, **options)
    if isinstance(drawn, list):
        raise ValueError(
            f"A file holds one picture, got the relevance of {len(drawn)} images. Save each, or a grid(...)."
        )
    return drawn
