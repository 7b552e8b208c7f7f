"""How unequal the sizes of numbers are."""

from __future__ import annotations

import torch
from torch import Tensor


def gini(values: Tensor) -> Tensor:
    """The Gini index of the magnitudes along the last dimension, a measure of how sparse they are.

    With |c|₍₁₎ ≤ … ≤ |c|₍N₎ the magnitudes in their order,

        S = 1 − 2 Σ_k |c|₍k₎ / ‖c‖₁ · (N − k + ½) / N

    which is 0 if all are alike and 1 − 1/N if one alone is not zero.

    Args:
        values: of shape (..., N).

    Returns:
        The indices, float64 of shape (...); nan where all values are zero.

    Example:
        >>> import altprop, torch
        >>> altprop.measure.gini(torch.tensor([[3.0, -3.0, 3.0, 3.0], [0.0, 0.0, -2.0, 0.0]]))
        tensor([0.0000, 0.7500], dtype=torch.float64)

    Reference:
        Hurley and Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory 2009.
    """
    ordered = values.detach().abs().double().sort(-1).values
    count = ordered.shape[-1]
    left = (count - torch.arange(1, count + 1, device=values.device, dtype=torch.float64) + 0.5) / count
    return 1 - 2 * (ordered / ordered.sum(-1, keepdim=True)) @ left
