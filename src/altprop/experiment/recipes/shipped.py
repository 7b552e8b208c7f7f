"""The recipes that come with the package."""

from __future__ import annotations

from pathlib import Path

from altprop._names import did_you_mean
from altprop.experiment.errors import InputError

_LIBRARY = Path(__file__).parent / "library"


def shipped_recipes() -> dict[str, Path]:
    """The files of the recipes that come with the package, by name.

    Example:
        >>> shipped_recipes()["lfp-digits"].name
        'lfp-digits.yaml'
    """
    return {path.stem: path for path in sorted(_LIBRARY.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Find the file of a recipe.

    Args:
        name: a path, or the name of a recipe that comes with the package. A file in the working directory goes first.

    Raises:
        InputError: there is neither.

    Example:
        >>> find_recipe("lfp-digit")
        Traceback (most recent call last):
        ...
        altprop.experiment.errors.InputError: There is no file lfp-digit, and no recipe ... 'lfp-digits'? ...
    """
    path, shipped = Path(name), shipped_recipes()
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    if path.is_dir():
        if (path / "recipe.yaml").is_file():
            return path / "recipe.yaml"
        raise InputError(f"{name}: this is a folder without a recipe.yaml. Name a YAML file.")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise InputError(f"There is no file {name}.{did_you_mean(path.stem, shipped)} Shipped ones: altprop recipes.")
    raise InputError(
        f"There is no file {name}, and no recipe of this name comes with altprop.{did_you_mean(name, shipped)} "
        f"See: altprop recipes."
    )
