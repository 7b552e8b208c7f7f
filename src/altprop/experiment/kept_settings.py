"""What the commands that look at trained networks are all told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from altprop.experiment.options import Name, Options


class KeptSettings(Options):
    """Which networks to look at, and where what comes out goes."""

    positional: ClassVar[frozenset[str]] = frozenset({"run"})

    run: Path | None = Field(
        default=None, description="Folder of the networks: of altprop compare --keep-weights, or of altprop train."
    )
    which: Literal["final", "best", "last"] = Field(
        default="final", description="Of networks that a recipe trained: at the end, at their best, or the last kept."
    )
    tolerance: float = Field(
        default=0.05, gt=0, allow_inf_nan=False, description="What the score may lose: how far does a network go?"
    )
    device: str = Field(default="cpu", description="Device: cpu, cuda, cuda:1, mps.")
    out: Path | None = Field(default=Path("runs"), description="Folder of all results.")
    name: Name | None = Field(
        default=None, description="Folder of these results, within --out. Unset: named for the contents."
    )
    overwrite: bool = Field(default=False, description="Replace earlier results of the same name.")
