"""Figures of a training run in Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from altprop._extras import how_to_install
from altprop.experiment.errors import InputError
from altprop.flax.results import FlaxEpoch
from altprop.flax.settings import FlaxSettings


@contextmanager
def weights_and_biases(settings: FlaxSettings, folder: Path | None) -> Iterator[Callable[[FlaxEpoch], None]]:
    """A function that logs an epoch; it does nothing unless ``settings.wandb`` asks for it.

    Args:
        settings: of the run; they are logged too.
        folder: where the service keeps its files; None: where it chooses.

    Raises:
        InputError: wandb is not installed.
    """
    if not settings.wandb:
        yield lambda epoch: None
        return
    if find_spec("wandb") is None:
        raise InputError(f"--wandb needs wandb, which is not installed. Install it with: {how_to_install('wandb')}")
    import wandb  # noqa: PLC0415  (an extra of its own)

    project = os.environ.get("WANDB_PROJECT", "altprop")
    with wandb.init(project=project, dir=folder, config=settings.model_dump(mode="json")) as run:
        yield lambda epoch: run.log(_figures(epoch), step=epoch.epoch)


def _figures(epoch: FlaxEpoch) -> dict[str, float]:
    named = epoch.model_dump(exclude={"epoch", "layer_cosines"})
    named |= {f"cosine/{layer}": cosine for layer, cosine in epoch.layer_cosines.items()}
    return {name: value for name, value in named.items() if value is not None}
