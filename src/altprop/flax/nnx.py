"""Layers with feedback weights for Flax NNX, and networks under direct rules; the arguments are those of Flax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from altprop.flax import direct
from altprop.flax.feedback import sign_feedback, with_feedback
from altprop.flax.initializers import Initializer, feedback_initializer


class Feedback(nnx.Variable):  # type: ignore[type-arg]
    """Feedback weights that no optimizer changes: they are no ``nnx.Param``."""


class _FeedbackLayer:
    """What the layers share: Flax's layer computes, and the function that it calls for that is ours."""

    kernel: Any
    mask: Any = None

    # Flax's constructors set these two, and its layers call them.
    @property
    def dot_general(self) -> Callable[..., Array]:
        return partial(self._weighted_sum, self._plain)

    @dot_general.setter
    def dot_general(self, function: Callable[..., Array]) -> None:
        self._plain = function

    @property
    def conv_general_dilated(self) -> Callable[..., Array]:
        return partial(self._weighted_sum, self._plain)

    @conv_general_dilated.setter
    def conv_general_dilated(self, function: Callable[..., Array]) -> None:
        self._plain = function

    def _weighted_sum(
        self, function: Callable[..., Array], inputs: Array, kernel: Array, *args: Any, **kwargs: Any
    ) -> Array:
        feedback, learned = self.feedback_now(kernel)
        feedback = feedback if self.mask is None else feedback * self.mask
        run = lambda a, w: function(a, w, *args, **kwargs)  # noqa: E731
        return with_feedback(run, inputs, kernel, feedback, learned=learned)

    def feedback_now(self, kernel: Array) -> tuple[Array, bool]:
        raise NotImplementedError


class _Fixed(_FeedbackLayer):
    def __init__(
        self, *args: Any, feedback_init: str | Initializer = "lecun_uniform", rngs: nnx.Rngs, **kwargs: Any
    ) -> None:
        super().__init__(*args, rngs=rngs, **kwargs)  # type: ignore[call-arg]  # Flax's layer
        kernel = self.kernel[...]
        self.feedback = self._variable(feedback_initializer(feedback_init)(_key(rngs), kernel.shape, kernel.dtype))

    _variable: Any = Feedback

    def feedback_now(self, kernel: Array) -> tuple[Array, bool]:
        return self.feedback[...], self._variable is nnx.Param


class _Learned(_Fixed):
    _variable = nnx.Param


class _Sign(_FeedbackLayer):
    def __init__(
        self,
        *args: Any,
        mode: str = "uniform",
        feedback_init: str | Initializer = "lecun_uniform",
        rngs: nnx.Rngs,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, rngs=rngs, **kwargs)  # type: ignore[call-arg]  # Flax's layer
        kernel, draw = self.kernel[...], feedback_initializer(feedback_init)
        if mode == "uniform":
            self.magnitude = Feedback(jnp.sqrt(jnp.mean(jnp.square(kernel))))
        elif mode == "fixed":
            self.magnitude = Feedback(jnp.abs(draw(_key(rngs), kernel.shape, kernel.dtype)))
        elif mode == "batchwise":
            self.rngs = rngs.fork() if hasattr(rngs, "fork") else rngs
        else:
            raise ValueError(f"mode must be 'uniform', 'batchwise' or 'fixed', got {mode!r}.")
        self.mode, self.feedback_init = mode, draw

    def feedback_now(self, kernel: Array) -> tuple[Array, bool]:
        if self.mode == "batchwise":
            magnitude = self.feedback_init(_key(self.rngs), kernel.shape, kernel.dtype)
        else:
            magnitude = self.magnitude[...]
        return sign_feedback(kernel, magnitude), False


def _key(rngs: nnx.Rngs) -> Array:
    """A key for feedback weights: of the stream of that name, or of the default one."""
    key: Array = rngs["feedback"]() if "feedback" in rngs else rngs()
    return key


class FADense(_Fixed, nnx.Linear):
    """``nnx.Linear`` whose error goes back through fixed random weights, its variable ``feedback``.

    Args:
        in_features: as for ``nnx.Linear``, and so are all that are not below.
        out_features: as for ``nnx.Linear``.
        feedback_init: how the feedback weights are drawn: one of :data:`altprop.flax.INITS`, or an initializer.
        rngs: feedback weights are drawn from its stream ``feedback``, if it has one.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = FADense(4, 3, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 4))).shape, layer.feedback.shape
        ((2, 3), (4, 3))
    """


class FAConv(_Fixed, nnx.Conv):
    """``nnx.Conv`` whose error goes back through fixed random weights; see :class:`FADense`."""


class KPDense(_Learned, nnx.Linear):
    """``nnx.Linear`` whose error goes back through weights that learn as its own do: its parameter ``feedback``.

    With weight decay in the optimizer the two become one. See :class:`FADense` for the arguments.
    """


class KPConv(_Learned, nnx.Conv):
    """``nnx.Conv`` whose error goes back through weights that learn as its own do; see :class:`KPDense`."""


class SignSymmetricDense(_Sign, nnx.Linear):
    """``nnx.Linear`` whose error goes back through weights that share its own weights' signs.

    Args:
        mode: ``"uniform"``: all of one magnitude, the root mean square of the weights at the start (uSF); ``"fixed"``:
            magnitudes drawn once (frSF); ``"batchwise"``: drawn anew at each call (brSF).
        feedback_init: how magnitudes are drawn; see :class:`FADense`.
        rngs: as for :class:`FADense`.
    """


class SignSymmetricConv(_Sign, nnx.Conv):
    """``nnx.Conv`` whose error goes back through weights that share its own weights' signs.

    See :class:`SignSymmetricDense`.
    """


class _BlocksInARow(nnx.Module):
    """What the networks under direct rules share: blocks, cut between each other, and the projections to them."""

    def __init__(self, *blocks: Callable[..., Array]) -> None:
        self.blocks = nnx.List(blocks)

    projections: Any

    def _through(self, x: Array) -> Array:
        for number, block in enumerate(self.blocks):
            x = block(direct.cut(x, f"block{number - 1}") if number else x)
        return x

    def _drawn(self, rule: Callable[..., direct.DirectRule], example: Any, rngs: nnx.Rngs) -> nnx.Dict[Any]:
        # A copy runs, so that running statistics and random streams stay as they are.
        graph, state = nnx.split(self)
        projections = rule(lambda x: nnx.merge(graph, state, copy=True)._through(x)).init(_key(rngs), example)
        return nnx.Dict({name: Feedback(B) for name, B in projections.items()})

    def _projections(self) -> direct.Projections:
        return {name: B[...] for name, B in self.projections.items()}


class DFANetwork(_BlocksInARow):
    """Blocks in a row, cut between each other: every hidden block is taught by the projected error.

    No block has to know the width of the outputs: the projections are drawn for the shapes that an example has.

    Args:
        *blocks: called one after the other; within each, credit flows by ordinary gradients.
        example: an input, or a ``jax.ShapeDtypeStruct``, of shape (batch, ...).
        rngs: the projections are drawn from its stream ``feedback``, if it has one.
        **options: as for :func:`altprop.flax.dfa`: ``init``, ``normalize``, ``signal``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> rngs = nnx.Rngs(0)
        >>> hidden = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.tanh)
        >>> model = DFANetwork(hidden, nnx.Linear(8, 3, rngs=rngs), example=jnp.ones((1, 4)), rngs=rngs)
        >>> model(jnp.ones((2, 4))).shape, model.projections["block0"].shape
        ((2, 3), (3, 8))
    """

    def __init__(self, *blocks: Callable[..., Array], example: Any, rngs: nnx.Rngs, **options: Any) -> None:
        super().__init__(*blocks)
        self._rule: Callable[..., direct.DirectRule] = partial(direct.dfa, **options)
        self.projections = self._drawn(self._rule, example, rngs)

    def __call__(self, x: Array) -> Array:
        """The output of the last block."""
        return self._rule(self._through).apply(self._projections(), x)


class DRTPNetwork(_BlocksInARow):
    """Blocks in a row, cut between each other: every hidden block is taught by the projected target.

    Args:
        *blocks: as for :class:`DFANetwork`.
        example: as for :class:`DFANetwork`.
        rngs: as for :class:`DFANetwork`.
        **options: as for :func:`altprop.flax.drtp`: ``init``, ``normalize``.
    """

    def __init__(self, *blocks: Callable[..., Array], example: Any, rngs: nnx.Rngs, **options: Any) -> None:
        super().__init__(*blocks)
        self._rule: Callable[..., direct.DirectRule] = partial(direct.drtp, **options)
        self.projections = self._drawn(self._rule, example, rngs)

    def __call__(self, x: Array, targets: Array | None = None, scale: float = 1.0) -> Array:
        """The output of the last block; to train, with the targets, as :func:`altprop.flax.drtp` takes them."""
        if targets is None:
            return self._through(x)
        return self._rule(self._through).apply(self._projections(), x, targets=targets, scale=scale)


class ShallowNetwork(_BlocksInARow):
    """Blocks in a row of which the last alone learns: the control.

    Args:
        *blocks: as for :class:`DFANetwork`.
    """

    def __call__(self, x: Array) -> Array:
        """The output of the last block."""
        return direct.shallow(self._through).apply({}, x)
