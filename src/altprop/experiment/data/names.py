"""What is written after ``--data``: the name of a data set, and the folder of its files."""

from __future__ import annotations

from pathlib import Path

HUB = "hf:"
"""What the names of Hugging Face's data sets begin with."""


def parse_data(text: str) -> tuple[str, Path | None]:
    """Read ``NAME`` or ``NAME:ROOT``.

    Args:
        text: as it is written; what follows ``hf:`` belongs to the name.

    Example:
        >>> parse_data("cifar-10:/data")
        ('cifar-10', PosixPath('/data'))
        >>> parse_data("hf:ylecun/mnist")
        ('hf:ylecun/mnist', None)
    """
    if text.startswith(HUB):
        return text, None
    name, _, root = text.partition(":")
    return name, Path(root).expanduser() if root else None
