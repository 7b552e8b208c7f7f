"""``altprop explain``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from altprop.cli.options import Later, as_epilog, with_options
from altprop.cli.output import end_if_interrupted, print_outcome

if TYPE_CHECKING:
    from altprop.experiment.explaining.results import Explanations

HELP = """
Explain a network's outputs by layer-wise relevance propagation, by several composites of rules side by side.

The inputs are an image file, a folder of images, or test samples of a data set. The results go to a folder in runs/:
pictures, a report to open in a browser, the relevance as tensors, and tables in JSON.
"""

EXAMPLES = """
altprop explain cat.jpg --model torchvision:vgg16:DEFAULT
altprop explain photos --model torchvision:resnet18 --weights mine.pt --target tabby --rules epsilon_plus_flat
altprop explain --model runs/train-lfp-digits-256-256 --index 0,3,5
altprop explain --model runs/mine --data digits --index 3 --rules epsilon:epsilon=0.1,gradient --target 7
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", cls=Later, help=HELP, epilog=as_epilog(EXAMPLES))(_command)


def _command() -> Callable[..., None]:
    from altprop.experiment.explaining.running import explain
    from altprop.experiment.explaining.settings import ExplainSettings

    return with_options(explain, ExplainSettings, _show)


def _show(explanations: Explanations) -> None:
    from altprop.experiment.explaining.table import terminal_tables

    print_outcome(terminal_tables(explanations), explanations.notes, explanations.folder)
    end_if_interrupted(explanations.interrupted)
