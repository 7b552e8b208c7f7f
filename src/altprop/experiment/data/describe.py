"""What is known of a data set, in words."""

from __future__ import annotations

from altprop.experiment.data.catalog import DataSet, find_data_set


def describe(text: str) -> list[tuple[str, str]]:
    """What a data set is, where it is published, where its files go, and how its images are prepared.

    Args:
        text: ``NAME`` or ``NAME:ROOT``.

    Returns:
        Rows of a heading and what there is to say under it.

    Raises:
        InputError: there is no such data set.

    Example:
        >>> dict(describe("cifar-10"))["augmentation"]
        'shifted by up to 4 pixels, mirrored'
    """
    known = find_data_set(text)
    rows = [("what", known.summary), ("task", known.task), ("size", known.size), ("published", known.origin)]
    rows += [("files", kind(known)), *([("in the folder", known.files)] if known.files else [])]
    if known.look is None:
        return rows
    look = known.look
    fit = f", the centre of photographs resized to {look.margin}" if look.photo else ""
    return [
        *rows,
        ("brought to", f"{look.channels}×{look.size}×{look.size}{fit}"),
        ("mean", ", ".join(f"{one:g}" for one in look.mean)),
        ("deviation", ", ".join(f"{one:g}" for one in look.deviation)),
        ("augmentation", look.describe()),
    ]


def kind(known: DataSet) -> str:
    """How a data set's files come to be there."""
    if known.read is None:
        return "embedded"
    return "to download" if known.downloads else "yours"
