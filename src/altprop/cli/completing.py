"""What a shell offers as values of an option when Tab is pressed: ``altprop --install-completion`` sets it up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin

Offer = Callable[[str], list[str]]

_LISTS = {"rules", "composites", "track", "attacks", "by"}


def offered(name: str, choices: Iterable[str] = ()) -> Offer | None:
    """What is offered for an option; None if nothing is known of its values.

    Args:
        name: of the option, as Python has it.
        choices: all its values, if they are few.
    """
    known = _NAMES.get(name) or ((lambda: choices) if choices else None)
    if known is None:
        return None

    def offer(incomplete: str) -> list[str]:
        # Of a list the last entry is completed, and what is there already is not offered again.
        before, comma, begun = incomplete.rpartition(",") if name in _LISTS else ("", "", incomplete)
        return [before + comma + one for one in known() if one.startswith(begun) and one not in before.split(",")]

    return offer


def choices_in(annotation: Any) -> list[str]:
    """The texts among which a type lets choose.

    Example:
        >>> choices_in(tuple[Literal["a", "b"], ...] | None)
        ['a', 'b']
    """
    if get_origin(annotation) is Literal:
        return [one for one in get_args(annotation) if isinstance(one, str)]
    return [one for part in get_args(annotation) for one in choices_in(part)]


def offer_changes(incomplete: str) -> list[str]:
    """The keys of a recipe, for ``-o``."""
    from altprop.experiment.recipes.describing import all_keys

    return [f"{key}=" for key in all_keys() if key.startswith(incomplete)]


def offer_recipes(incomplete: str) -> list[str]:
    """The recipes that come with altprop; where none fits, a shell offers files."""
    from altprop.experiment.recipes import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


def _data() -> Iterable[str]:
    from altprop.experiment.data.catalog import DATA_SETS

    return DATA_SETS


def _models() -> Iterable[str]:
    from altprop.experiment.networks.names import known_models

    return [name for name, *_ in known_models()]


def _rules() -> Iterable[str]:
    from altprop.experiment.registry import RULES

    return RULES


def _composites() -> Iterable[str]:
    from altprop.explain import COMPOSITES

    return COMPOSITES


def _objectives() -> Iterable[str]:
    from altprop.experiment.objectives import LOSSES
    from altprop.rewards import REWARDS, SPIKE_REWARDS

    return dict.fromkeys((*LOSSES, *REWARDS, *SPIKE_REWARDS))


def _activations() -> Iterable[str]:
    from altprop.experiment.networks.names import ACTIVATIONS

    return ACTIVATIONS


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "data": _data,
    "model": _models,
    "rules": _rules,
    "composites": _composites,
    "composite": _composites,
    "objective": _objectives,
    "activation": _activations,
}
