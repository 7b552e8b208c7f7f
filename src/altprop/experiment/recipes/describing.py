"""Every key of a recipe with its default and its meaning, as a table for the documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

from pydantic.fields import FieldInfo

from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.sections import Section, section_in


def describe() -> str:
    """All keys, section by section, as Markdown: a table for each with key, default, meaning.

    Example:
        >>> print(describe().splitlines()[0])
        ## The recipe itself
    """
    return "\n\n".join(_tables(Recipe, "")).replace("``", "`") + "\n"


def meaning_of(key: str) -> str:
    """What a key of a recipe means, for a terminal.

    Args:
        key: dotted.

    Example:
        >>> meaning_of("data.fraction")
        'Of the training examples to use, drawn by seed, in the same proportions of classes.'
    """
    section, last = _of_key(key)
    return re.sub(r"`+\"?([^`\"]*)\"?`+", r"\1", _meanings(section)[last])


def type_of(key: str) -> Any:
    """The type of what a dotted key of a recipe holds."""
    section, last = _of_key(key)
    return section.model_fields[last].annotation


def all_keys() -> list[str]:
    """The dotted keys of all that a recipe can say.

    Example:
        >>> [key for key in all_keys() if key.startswith("data.fr")]
        ['data.fraction']
    """
    return list(_keys(Recipe, ""))


def _keys(section: type[Section], before: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = _section(field)
        if kind is None:
            yield before + name
        else:
            yield from _keys(kind, f"{before}{name}.")


def _of_key(key: str) -> tuple[type[Section], str]:
    section: type[Section] = Recipe
    *sections, last = key.split(".")
    for name in sections:
        section = section_in(section.model_fields[name].annotation) or section
    return section, last


def _tables(section: type[Section], key: str) -> Iterator[str]:
    fields = section.model_fields
    inner = {name: _section(field) for name, field in fields.items()}
    rows = [f"| `{name}` | {_default(field)} | {_meanings(section)[name]} |" for name, field in fields.items()]
    title = f"## `{key}`" if key else "## The recipe itself"
    yield f"{title}\n\n{_summary(section)}\n\n| key | default | meaning |\n|---|---|---|\n" + "\n".join(rows)
    for name, kind in inner.items():
        if kind is not None:
            yield from _tables(kind, f"{key}.{name}" if key else name)


def _section(field: FieldInfo) -> type[Section] | None:
    return section_in(field.annotation)


def _summary(section: type[Section]) -> str:
    return _words(inspect.getdoc(section).partition("\n\nAttributes:")[0])  # type: ignore[union-attr]


def _meanings(section: type[Section]) -> dict[str, str]:
    """What the docstring of a section says of each of its keys."""
    text = str(inspect.getdoc(section)).partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE)
    return {name: _capital(_words(meaning)) for name, meaning in entries}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if _section(field) is not None:
        return "unset" if NoneType in get_args(field.annotation) else "its own"
    return "unset" if field.default is None else f"`{_text(field.default)}`"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) if value != "" else '""'


def _words(text: str) -> str:
    plain = re.sub(r":(?:mod|func|class):`~?([\w.]+)`", r"`\1`", text)
    return " ".join(plain.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
