"""The command line: it reads the options, calls one function of :mod:`altprop.experiment`, and prints.

Each command has a file, whose ``add_to`` adds it. A command imports what it needs when it is called, so that
``altprop --help`` need not wait for it; ``--help`` and ``--version`` do with the core alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from altprop import __version__
from altprop._extras import how_to_install

try:
    from altprop.cli.commands import app
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] == "altprop":
        raise
    _missing = error.name
else:
    _missing = None

COMMANDS = (
    "demo", "compare", "train", "recipes", "sweep", "worker", "explain", "prune", "robustness", "report", "flax",
    "data", "models", "rules", "composites", "objectives",
)  # fmt: skip
"""The names of the commands, for who has none of the packages that they need."""


def main() -> None:
    """Run the command that ``sys.argv`` gives."""
    if _missing is None:
        app()
    else:
        sys.exit(_without_packages(sys.argv[1:], _missing))


def _without_packages(words: Sequence[str], missing: str) -> int:
    """What can be said with the core alone; the status of the command."""
    needed = f"The commands need {missing}, which is not installed. Install it with: {how_to_install('experiments')}"
    if "--version" in words:
        print(f"altprop {__version__}")
    elif not words or {"--help", "-h"} & set(words):
        print(f"Usage: altprop COMMAND ...\n\nCommands: {', '.join(COMMANDS)}\n\n{needed}")
    else:
        print(f"altprop: {needed}", file=sys.stderr)
        return 1
    return 0
