"""Labels: a name with arguments after a colon, such as ``lfp:epsilon=0``, and what they stand for."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, signature
from typing import Any, TypeVar

from altprop.experiment.errors import InputError, unknown

Made = TypeVar("Made")


def base_name(label: str) -> str:
    """The name in a label: ``"lfp"`` of ``"lfp:epsilon=0"``."""
    return label.partition(":")[0]


def make_labelled(kind: str, label: str, makers: Mapping[str, Callable[..., Made]], **given: Any) -> Made:
    """Make what a label describes.

    Args:
        kind: what it is, for errors: ``"rule"``.
        label: a name, with arguments after a colon if need be.
        makers: by name what makes it; the keyword arguments are those that may follow the name.
        **given: arguments for makers that take them, unless the label has its own.

    Raises:
        InputError: there is no such name, it has no such argument or lacks one, or its value is refused.

    Example:
        >>> make_labelled("number", "whole:x=7", {"whole": lambda x: int(x), "half": lambda x: x / 2})
        7
    """
    if base_name(label) not in makers:
        raise unknown(kind, base_name(label), makers)
    name, arguments = parse_label(kind, label)
    return make_named(kind, name, arguments, makers, **given)


def parse_label(kind: str, label: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments in a label.

    Args:
        kind: what it stands for, for errors.
        label: a name, with arguments after a colon if need be.

    Raises:
        InputError: an argument is not written ``name=value``.

    Example:
        >>> parse_label("rule", "lfp:epsilon=0,update=oja")
        ('lfp', {'epsilon': 0, 'update': 'oja'})
    """
    name, _, text = label.partition(":")
    return name, dict(_argument(kind, label, part) for part in text.split(",")) if text else {}


def make_named(
    kind: str, name: str, arguments: Mapping[str, Any], makers: Mapping[str, Callable[..., Made]], **given: Any
) -> Made:
    """Make what a name and arguments describe; see :func:`make_labelled`."""
    if name not in makers:
        raise unknown(kind, name, makers)
    known = signature(makers[name]).parameters
    label = f"{name}:{','.join(f'{key}={value}' for key, value in arguments.items())}" if arguments else name
    for argument in arguments:
        if not known:
            raise InputError(f"The {kind} {name!r} takes no arguments, got {label!r}.")
        if argument not in known:
            raise unknown(f"argument of the {kind} {name!r} called", argument, known)
    arguments = {key: value for key, value in given.items() if key in known} | dict(arguments)
    missing = [key for key, one in known.items() if one.default is Parameter.empty and key not in arguments]
    if missing:
        example = f"{name}:{','.join(f'{key}=…' for key in missing)}"
        raise InputError(f"The {kind} {name!r} needs {' and '.join(missing)}: write {example}.")
    try:
        return makers[name](**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"The {kind} {label!r} cannot be made: {error}") from error


def _argument(kind: str, label: str, part: str) -> tuple[str, Any]:
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if not (name and equals and value):
        raise InputError(f"The arguments of a {kind} are written name=value, got {part!r} in {label!r}.")
    try:
        return name, literal_eval(value)
    except (SyntaxError, ValueError):
        return name, {"true": True, "false": False}.get(value.lower(), value)


def split_labels(text: str, names: Collection[str]) -> list[str]:
    """Split a comma-separated list of labels, whose arguments hold commas too.

    A part with an equals sign goes on with the arguments before it, unless it begins with a name. What follows a label,
    as the rate in ``"lfp:epsilon=0=0.5"``, is kept.

    Args:
        text: the list.
        names: those that a label may begin with.

    Example:
        >>> split_labels("lfp:gamma=0.1,minimum_scale=0.001,backprop", ["lfp", "backprop"])
        ['lfp:gamma=0.1,minimum_scale=0.001', 'backprop']
    """
    labels: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        name, equals, _ = part.partition("=")
        goes_on = labels and ":" in labels[-1] and equals and ":" not in name and name not in names
        if goes_on:
            labels[-1] += f",{part}"
        elif part:
            labels.append(part)
    return labels
