"""Recipes from YAML files, with errors that name the line, the key and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from altprop._names import did_you_mean
from altprop.experiment.errors import InputError
from altprop.experiment.networks.spiking import is_spiking, spiking_defaults
from altprop.experiment.recipes.checks import problems
from altprop.experiment.recipes.reading import Key, Tree, read_file, read_text, read_value
from altprop.experiment.recipes.schema import Recipe, RuleSection, rules_in
from altprop.experiment.sections import Section, named, section_in


def load_recipe(path: Path | str, overrides: Iterable[str] = (), *, own: bool = False) -> Recipe:
    r"""Load a recipe, and check all that can be checked before the data are opened.

    Args:
        path: the YAML file.
        overrides: changes as ``"optimizer.lr=0.01"``, of which later ones win.
        own: whether the data are given in Python, and not by the recipe.

    Raises:
        InputError: something is wrong; the message has a line for each thing, with the file, the line, the key, and the
            closest name that there is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "recipe.yaml"
        >>> _ = path.write_text("model: lenet\noptimizer:\n  lrr: 0.1\n")
        >>> load_recipe(path)
        Traceback (most recent call last):
        ...
        altprop.experiment.errors.InputError: ...recipe.yaml:3: optimizer.lrr: there is no such key. Did you mean 'lr'?
        >>> _ = path.write_text("model: lenet\ndata: mnist-5k")
        >>> load_recipe(path, ["optimizer.lr=1e-3"]).optimizer.lr
        0.001
    """
    return checked(read_file(Path(path)), map(parse_change, overrides), own=own)


def parse_recipe(text: str, overrides: Iterable[str] = (), *, source: str = "recipe", own: bool = False) -> Recipe:
    """Make a recipe of YAML text, as :func:`load_recipe` does of a file.

    Args:
        text: the YAML.
        overrides: as of :func:`load_recipe`.
        source: what errors call it.
        own: as of :func:`load_recipe`.

    Raises:
        InputError: as for :func:`load_recipe`.

    Example:
        >>> parse_recipe("rule: lfp:epsilon=0", ["training.seeds=3"]).training.seeds
        (0, 1, 2)
    """
    return checked(read_text(text, source), map(parse_change, overrides), own=own)


@dataclass(frozen=True)
class Change:
    """A value in the place of what a recipe says.

    Attributes:
        key: of the recipe.
        value: as YAML has it.
        place: where it was given, as errors name it: ``"-o "``, or the name of a flag.
        named_alone: whether that says already which key is meant.
    """

    key: Key
    value: Any
    place: str
    named_alone: bool = False

    @classmethod
    def of(cls, key: str, value: Any, place: str, *, named_alone: bool = False) -> Change:
        """A change of a dotted key; a value that is text is read as YAML."""
        value = read_value(value, place.strip(": ")) if isinstance(value, str) else value
        return cls(_split(key), value, place, named_alone)


def parse_change(text: str) -> Change:
    """Read a change that is written KEY=VALUE.

    Raises:
        InputError: it is not.
    """
    name, equals, value = text.partition("=")
    key = _split(name.strip())
    if not equals or not all(key):
        raise InputError(f"-o {text}: a change is written KEY=VALUE, such as optimizer.lr=0.01.")
    return Change(key, read_value(value, f"-o {name}"), "-o ")


def checked(tree: Tree, changes: Iterable[Change], *, own: bool = False) -> Recipe:
    """Make a recipe of a tree with changes, and check it.

    Args:
        tree: what a recipe says.
        changes: of which later ones win.
        own: whether the data are given in Python, and not by the recipe.

    Raises:
        InputError: as for :func:`load_recipe`.
    """
    fixed = [_change(tree, change) for change in changes]
    _fill_in_for_spikes(tree)
    try:
        recipe = Recipe.model_validate(tree.values)
    except ValidationError as error:
        raise InputError("\n".join([*_complaints(tree, error), *_names_too(tree, error, own=own)])) from error
    found = [tree.complaint(key, message) for key, message in problems(recipe, fixed, own=own)]
    if found:
        raise InputError("\n".join(found))
    return recipe


def _names_too(tree: Tree, error: ValidationError, *, own: bool) -> list[str]:
    """What else is wrong with a recipe, where what pydantic complains of is left out."""
    left = deepcopy(tree.values)
    for detail in error.errors():
        *sections, last = key_of(detail["loc"])
        inner: Any = left
        for name in sections:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)
    try:
        recipe = Recipe.model_validate(left)
    except ValidationError:
        return []
    return [tree.complaint(key, message) for key, message in problems(recipe, own=own, names_alone=True)]


def _change(tree: Tree, change: Change) -> str:
    """Change the tree, and say which key was changed."""
    key = change.key
    _set(tree.values, key, change.value)
    for inner in [place for place in tree.places if place[: len(key)] == key]:
        del tree.places[inner]
    tree.places[key] = change.place
    if change.named_alone:
        tree.flags.add(change.place)
    return ".".join(key)


def _split(name: str) -> Key:
    """The parts of a dotted key; what stands in a search space is a dotted key itself."""
    parts = tuple(name.split("."))
    return (*parts[:2], ".".join(parts[2:])) if parts[:2] == ("search", "space") and len(parts) > 2 else parts


def _set(values: dict[str, Any], key: Key, value: Any) -> None:
    section: Any = Recipe
    for name in key[:-1]:
        section = _field_type(section, name)
        inner = rules_in(values.get(name)) if section is RuleSection else values.get(name)
        if isinstance(inner, list):
            raise InputError(f"{'.'.join(key)}: {name} is a list here: give the whole list, such as {name}=[lfp, dfa].")
        inner = named(section, inner) if section else inner
        values[name] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[name]
    values[key[-1]] = value


def _fill_in_for_spikes(tree: Tree) -> None:
    """Spiking networks have defaults of their own."""
    values = tree.values
    try:
        model = named(_section("model"), values.get("model"))
    except InputError:
        return
    name = model.get("name") if isinstance(model, Mapping) else None
    if not (isinstance(name, str) and is_spiking(name)):
        return
    defaults = spiking_defaults(name)
    values["model"] = {"activation": defaults["activation"], "norm": defaults["norm"], **model}
    for section in ("optimizer", "objective"):
        given = named(_section(section), values.get(section, {}))
        if isinstance(given, Mapping):
            values[section] = {"name": defaults[section], **given}


def _section(name: str) -> type[Section]:
    section = _field_type(Recipe, name)
    assert section is not None
    return section


def _field_type(section: Any, name: str) -> type[Section] | None:
    """The section that is at a key of a section, if there is one."""
    if section is None or name not in section.model_fields:
        return None
    return section_in(section.model_fields[name].annotation)


def _complaints(tree: Tree, error: ValidationError) -> list[str]:
    """A line for each key that pydantic complains of."""
    messages: dict[Key, str] = {}
    for detail in error.errors():
        key = key_of(detail["loc"])
        messages[key] = f"{messages[key]} Or: {_message(key, detail)}" if key in messages else _message(key, detail)
    return [tree.complaint(key, message) for key, message in messages.items()]


def key_of(loc: tuple[int | str, ...]) -> Key:
    """The key that pydantic means; it also names the alternatives of a type, which are no keys."""
    section: type[Section] | None = Recipe
    key: list[str] = []
    for part in map(str, loc):
        if key == ["rule"] and part in ("one", "several"):
            section = RuleSection if part == "one" else None
            continue
        key.append(part)
        if section is None:
            return tuple(key[:-1])
        section = _field_type(section, part)
    return tuple(key)


def _message(key: Key, detail: Any) -> str:
    given, said = detail["input"], detail["msg"]
    section = _parent(key)
    if isinstance(detail.get("ctx", {}).get("error"), InputError):
        return str(detail["ctx"]["error"])
    match detail["type"]:
        case "extra_forbidden":
            known = list(section.model_fields) if section else []
            hint = did_you_mean(key[-1], known) or f" Known: {', '.join(known)}."
            return f"there is no such key.{hint}"
        case "missing":
            return "this key is needed."
        case "model_type" | "model_attributes_type":
            inner = _field_type(section, key[-1]) if section else None
            known = list(inner.model_fields) if inner else []
            return f"this is a section, with the keys {', '.join(known)}; got {given!r}."
        case "literal_error":
            known = re.findall("'([^']*)'", detail["ctx"]["expected"])
            return f"{said}, got {given!r}.{did_you_mean(str(given), known)}"
    return f"{said}, got {given!r}."


def _parent(key: Key) -> type[Section] | None:
    section: type[Section] | None = Recipe
    for name in key[:-1]:
        section = _field_type(section, name)
    return None if section is RuleSection else section
