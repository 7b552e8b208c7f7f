"""A hint at what a name that is not known was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """A question to append to an error about a name; empty if no known name is close. Case does not matter.

    Args:
        name: the name that was given.
        known: the names that there are.
        most: how many of them to suggest.
        cutoff: how similar they must be, from 0 to 1; a name that begins with what was given is close enough.

    Example:
        >>> did_you_mean("Epsilom", ["epsilon", "gamma"])
        " Did you mean 'epsilon'?"
    """
    lowered, given = {one.lower(): one for one in known}, name.lower()
    close = get_close_matches(given, lowered, n=most, cutoff=cutoff)
    close = close or [one for one in lowered if given and one.startswith(given)][:most]
    return f" Did you mean {' or '.join(repr(lowered[one]) for one in close)}?" if close else ""
