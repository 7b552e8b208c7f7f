"""How feedback weights are drawn: the schemes by name, those of the torch rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
from jax import Array
from jax.nn import initializers

Initializer = Callable[..., Array]
"""Called with a key, a shape (the fans last, as Flax has kernels) and a dtype."""

Mode = Literal["fan_in", "fan_avg"]
_SHAPES: tuple[Literal["normal", "uniform"], ...] = ("normal", "uniform")
_GAINS: dict[str, tuple[Mode, float]] = {
    "kaiming": ("fan_in", 2.0),
    "xavier": ("fan_avg", 1.0),
    "lecun": ("fan_in", 1.0),
}

INITS: dict[str, Initializer] = {
    "normal": initializers.normal(1.0),
    "uniform": lambda key, shape, dtype=float, **kwargs: jax.random.uniform(key, shape, dtype, -1.0, 1.0),
    **{
        f"{name}_{shape}": initializers.variance_scaling(gain, mode, shape)
        for name, (mode, gain) in _GAINS.items()
        for shape in _SHAPES
    },
    "orthogonal": initializers.orthogonal(),
}
"""The schemes by name; ``"normal"`` is N(0, 1) and ``"uniform"`` U(-1, 1), whatever the fans."""


def feedback_initializer(init: str | Initializer) -> Initializer:
    """The initializer of a name; one that is given is passed on.

    Raises:
        ValueError: there is no such scheme.

    Example:
        >>> import jax
        >>> feedback_initializer("lecun_uniform")(jax.random.key(0), (4, 3)).shape
        (4, 3)
    """
    if callable(init):
        return init
    if init not in INITS:
        raise ValueError(f"There is no init {init!r}. Choose an initializer of jax, or one of: {', '.join(INITS)}.")
    return INITS[init]


def draw_projection(
    key: Array, outputs: int, features: int, init: str | Initializer, normalize: bool | None, dtype: Any
) -> Array:
    """A projection from the outputs to a hidden layer, of shape (outputs, features).

    Args:
        key: to draw from.
        outputs: of the network.
        features: the size of the hidden layer.
        init: as of :func:`feedback_initializer`; the outputs are the fan-in.
        normalize: whether to divide by √features; by default for the inits that do not know the fans.
        dtype: of the projection.
    """
    drawn = feedback_initializer(init)(key, (outputs, features), dtype)
    normalize = init in ("normal", "uniform") if normalize is None else normalize
    return drawn / math.sqrt(features) if normalize else drawn
