"""Recipes from YAML files, with errors that name the line, the key and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from altprop.experiment.errors import InputError, did_you_mean
from altprop.experiment.networks.spiking import is_spiking, spiking_defaults
from altprop.experiment.recipes.checks import problems
from altprop.experiment.recipes.reading import Key, Tree, read_file, read_text, read_value
from altprop.experiment.recipes.schema import Recipe, RuleSection, named


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    r"""Load a recipe, and check all that can be checked before the data are opened.

    Args:
        path: the YAML file.
        overrides: changes as ``"optimizer.lr=0.01"``, of which later ones win.

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
    return _checked(read_file(Path(path)), overrides)


def parse_recipe(text: str, overrides: Iterable[str] = (), *, source: str = "recipe") -> Recipe:
    """Make a recipe of YAML text, as :func:`load_recipe` does of a file.

    Args:
        text: the YAML.
        overrides: as of :func:`load_recipe`.
        source: what errors call it.

    Raises:
        InputError: as for :func:`load_recipe`.

    Example:
        >>> parse_recipe("rule: lfp:epsilon=0", ["training.seeds=3"]).training.seeds
        (0, 1, 2)
    """
    return _checked(read_text(text, source), overrides)


def _checked(tree: Tree, overrides: Iterable[str]) -> Recipe:
    fixed = [_override(tree, override) for override in overrides]
    _fill_in_for_spikes(tree)
    try:
        recipe = Recipe.model_validate(tree.values)
    except ValidationError as error:
        raise InputError("\n".join(_complaints(tree, error))) from error
    found = [tree.complaint(key, message) for key, message in problems(recipe, fixed)]
    if found:
        raise InputError("\n".join(found))
    return recipe


def _override(tree: Tree, override: str) -> str:
    """Change the tree, and say which key was changed."""
    name, equals, text = override.partition("=")
    key = _split(name.strip())
    if not equals or not all(key):
        raise InputError(f"-o {override}: a change is written KEY=VALUE, such as optimizer.lr=0.01.")
    _set(tree.values, key, read_value(text, f"-o {name}"))
    for inner in [place for place in tree.places if place[: len(key)] == key]:
        del tree.places[inner]
    tree.places[key] = "-o "
    return ".".join(key)


def _split(name: str) -> Key:
    """The parts of a dotted key; what stands in a search space is a dotted key itself."""
    parts = tuple(name.split("."))
    return (*parts[:2], ".".join(parts[2:])) if parts[:2] == ("search", "space") and len(parts) > 2 else parts


def _set(values: dict[str, Any], key: Key, value: Any) -> None:
    section: Any = Recipe
    for name in key[:-1]:
        section = _field_type(section, name)
        inner = values.get(name)
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


def _section(name: str) -> type[BaseModel]:
    section = _field_type(Recipe, name)
    assert section is not None
    return section


def _field_type(section: Any, name: str) -> type[BaseModel] | None:
    """The section that is at a key of a section, if there is one."""
    if section is None or name not in section.model_fields:
        return None
    annotation = section.model_fields[name].annotation
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def _complaints(tree: Tree, error: ValidationError) -> list[str]:
    """A line for each key that pydantic complains of."""
    messages: dict[Key, str] = {}
    for detail in error.errors():
        key = _key(detail["loc"])
        messages[key] = f"{messages[key]} Or: {_message(key, detail)}" if key in messages else _message(key, detail)
    return [tree.complaint(key, message) for key, message in messages.items()]


def _key(loc: tuple[int | str, ...]) -> Key:
    """The key that pydantic means; it also names the alternatives of a type, which are no keys."""
    section: type[BaseModel] | None = Recipe
    key: list[str] = []
    for part in map(str, loc):
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


def _parent(key: Key) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Recipe
    for name in key[:-1]:
        section = _field_type(section, name)
    return None if section is RuleSection else section
