"""A hint at what a name that is not known was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """A question to append to an error about a name; empty if no known name is close.

    Args:
        name: the name that was given.
        known: the names that there are.
        most: how many of them to suggest.
        cutoff: how similar they must be, from 0 to 1.

    Example:
        >>> did_you_mean("epsilom", ["epsilon", "gamma"])
        " Did you mean 'epsilon'?"
    """
    close = get_close_matches(name, list(known), n=most, cutoff=cutoff)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
