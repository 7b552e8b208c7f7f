"""The first batch of a compiled model runs eagerly, because projections are drawn on it."""

from typing import Any

import torch


def _call(model: Any, args: Any, kwargs: Any) -> Any:
    return model(*args, **kwargs)


run_eagerly = torch.compiler.disable(  # type: ignore[no-untyped-call]
    _call, reason="The rule draws its projections on the first batch: run the model once before it is compiled."
)
