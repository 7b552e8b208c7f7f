"""YAML as a tree that remembers where each of its keys was given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from altprop.experiment.errors import InputError

Key = tuple[str, ...]
"""Where something is in a recipe: ``("optimizer", "lr")``."""

# YAML's core schema of version 1.2. That of 1.1, PyYAML's own, takes 1e-3 for text, 010 for 8, and "no" for false. Keys
# that are switches take yes, no, on and off all the same: here these are text, which pydantic reads.
_RESOLVERS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


_DEEPEST = 20


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's name)


class Dumper(yaml.SafeDumper):
    """Writes YAML that is read back as it was."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Left to itself, PyYAML loses the rarer line breaks.
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _represent_text)

for _kind, (_pattern, _first) in _RESOLVERS.items():
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first)


@dataclass
class Tree:
    """What a recipe says before it is checked, and where it says so.

    Attributes:
        source: the name of the file.
        values: by key, nested.
        places: by whole key the place, as errors name it: ``"recipe.yaml:12: "``, ``"-o "`` or ``"--data: "``.
        flags: the places that are names of flags, which need no key beside them.
    """

    source: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)

    def complaint(self, key: Sequence[str], message: str) -> str:
        """A line that says where, which key, and what is wrong with it."""
        places = (self._place(tuple(key[:length])) for length in range(len(key), 0, -1))
        place = next(filter(None, places), f"{self.source}: ")
        return f"{place}{message}" if place in self.flags else f"{place}{'.'.join(key)}: {message}"

    def _place(self, key: Key) -> str | None:
        """The place of a key, or of the first thing below it."""
        return next((place for one, place in self.places.items() if one[: len(key)] == key), None)


def read_file(path: Path) -> Tree:
    """Read a file.

    Raises:
        InputError: it cannot be read, or is not YAML that a recipe can be; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not text in UTF-8 (byte {error.start}). A recipe is a YAML file.") from error
    except OSError as error:
        raise InputError(f"{path}: the recipe cannot be read: {error.strerror}.") from error
    return read_text(text, str(path))


def read_text(text: str, source: str) -> Tree:
    """Read text as :func:`read_file` does; ``source`` is what errors call it."""
    tree = Tree(source)
    reader = _Reader(source, tree.places)
    node = reader.node(text)
    if node is None:
        raise InputError(f"{source}: there is nothing in it. A recipe has sections such as data, model and rule.")
    if not isinstance(node, yaml.MappingNode):
        raise reader.error(node, "a recipe is made of sections such as data, model and rule, each with a colon.")
    tree.values = reader.value(node, ())
    return tree


def read_value(text: str, source: str) -> Any:
    """Read a single value, such as ``0.1``, ``lenet`` or ``[1, 2]``."""
    reader = _Reader(source, {}, lines=False)
    node = reader.node(text)
    return None if node is None else reader.value(node, ())


class _Reader:
    def __init__(self, source: str, places: dict[Key, str], *, lines: bool = True) -> None:
        self._source, self._places, self._lines = source, places, lines

    def node(self, text: str) -> yaml.Node | None:
        try:
            self._check(text)
            return yaml.compose(text, _Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark and self._lines else None
            raise InputError(f"{self._at(line)}{_said(error)}") from error
        except yaml.reader.ReaderError as error:
            raise InputError(
                f"{self._source}: there is a character that YAML does not take: {error.reason}."
            ) from error

    def _check(self, text: str) -> None:
        """Refuse what can make a short text large, or slow to read."""
        depth = 0
        for event in yaml.parse(text, _Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            at = self._at(event.start_mark.line + 1 if event.start_mark else None)
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{at}aliases (&name, *name) are not used in recipes: write it out.")
            if depth > _DEEPEST:
                raise InputError(f"{at}this is nested too deeply for a recipe.")

    def error(self, node: yaml.Node, message: str, key: Key = ()) -> InputError:
        name = f"{'.'.join(key)}: " if key else ""
        return InputError(f"{self._at(node.start_mark.line + 1 if self._lines else None)}{name}{message}")

    def value(self, node: yaml.Node, key: Key) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*key, str(number))) for number, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _item(self, node: yaml.Node, key: Key) -> Any:
        self._places[key] = self._at(node.start_mark.line + 1)
        return self.value(node, key)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                raise self.error(name_node, "a key is a name.", key)
            name = str(name_node.value)
            inner = (*key, name)
            if name in values:
                raise self.error(
                    name_node, f"this key is given twice, first at {self._places[inner].strip(': ')}.", inner
                )
            self._places[inner] = self._at(name_node.start_mark.line + 1)
            values[name] = self.value(value_node, inner)
        return values

    def _scalar(self, node: yaml.Node, key: Key) -> Any:
        kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), node.value
        match kind:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) <= 100:
                return int(text)
            case "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        raise self.error(node, "tags (!name) and numbers of this size are not used in recipes.", key)

    def _at(self, line: int | None) -> str:
        return f"{self._source}:{line}: " if line and self._lines else f"{self._source}: "


def _said(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "there is a tab. YAML is indented with spaces."
    if "mapping values are not allowed" in problem:
        return "there is a colon too many: put text that has a colon in quotes, and a section's keys on lines below it."
    if "could not find expected ':'" in problem:
        return "this line is not a key with a colon: write key: value."
    return f"this is not YAML: {problem}."
