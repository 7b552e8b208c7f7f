"""Layers with feedback weights for Flax linen, and networks under direct rules. The fields are those of Flax's layers.

Fixed feedback weights are in the collection ``"feedback"``, learned ones among the parameters. Both have the kernel's
shape, and are drawn when the module is initialised: from the random stream ``"feedback"``, if there is one, else from
``"params"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from altprop.flax import direct
from altprop.flax.feedback import sign_feedback, with_feedback
from altprop.flax.initializers import Initializer, feedback_initializer

COLLECTION = "feedback"
"""The collection of fixed feedback weights and projections."""


class _FeedbackLayer(nn.Module):
    """What the layers share: Flax's layer computes with their parameters, but for its backward pass."""

    feedback_init: str | Initializer = "lecun_uniform"

    # Flax's layer, the field by which it is told what to compute its weighted sum with, and what it takes by itself.
    _layer: ClassVar[Any] = nn.Dense
    _hook: ClassVar[str] = "dot_general"
    _function: ClassVar[Any] = staticmethod(lax.dot_general)

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """(..., in) to (..., features); of a convolution (batch, ..., in) to (batch, ..., features)."""
        own = [field.name for field in fields(self._layer) if field.name not in ("parent", "name")]
        given = {name: getattr(self, name) for name in own}
        function = given[self._hook] or self._function
        mask = given.get("mask")

        def weighted_sum(inputs: Array, kernel: Array, *args: Any, **kwargs: Any) -> Array:
            feedback, learned = self._feedback_for(kernel)
            feedback = feedback if mask is None else feedback * mask
            return with_feedback(
                lambda a, w: function(a, w, *args, **kwargs), inputs, kernel, feedback, learned=learned
            )

        plain = self._layer(**(given | {self._hook: weighted_sum}))
        # The parameters are this layer's own, not those of a layer within it.
        nn.share_scope(self, plain)
        output: Array = plain(inputs)
        return output

    def _drawn(self, kernel: Array) -> Array:
        dtype = self.param_dtype
        return feedback_initializer(self.feedback_init)(_key(self), kernel.shape, dtype)

    def _feedback_for(self, kernel: Array) -> tuple[Array, bool]:
        """The feedback weights of a kernel, and whether they learn."""
        raise NotImplementedError


class _Convolution:
    _layer: ClassVar[Any] = nn.Conv
    _hook: ClassVar[str] = "conv_general_dilated"
    _function: ClassVar[Any] = staticmethod(lax.conv_general_dilated)


class _Fixed(_FeedbackLayer):
    def _feedback_for(self, kernel: Array) -> tuple[Array, bool]:
        return self.variable(COLLECTION, "kernel", lambda: self._drawn(kernel)).value, False


class _Learned(_FeedbackLayer):
    def _feedback_for(self, kernel: Array) -> tuple[Array, bool]:
        draw = feedback_initializer(self.feedback_init)
        dtype = self.param_dtype
        return self.param("feedback", draw, kernel.shape, dtype), True


class _Sign(_FeedbackLayer):
    mode: str = "uniform"

    def _feedback_for(self, kernel: Array) -> tuple[Array, bool]:
        feedback_initializer(self.feedback_init)  # also refused where it is not used
        makers: dict[str, Callable[[], Array]] = {
            "uniform": lambda: jnp.sqrt(jnp.mean(jnp.square(kernel))),
            "fixed": lambda: jnp.abs(self._drawn(kernel)),
        }
        if self.mode == "batchwise":
            return sign_feedback(kernel, self._drawn(kernel)), False
        if self.mode not in makers:
            raise ValueError(f"mode must be 'uniform', 'batchwise' or 'fixed', got {self.mode!r}.")
        return sign_feedback(kernel, self.variable(COLLECTION, "magnitude", makers[self.mode]).value), False


def _key(module: nn.Module) -> Array:
    return module.make_rng(COLLECTION)


class FADense(_Fixed, nn.Dense):
    """``nn.Dense`` whose error goes back through fixed random weights, of the collection ``"feedback"``.

    Attributes:
        feedback_init: how they are drawn: one of :data:`altprop.flax.INITS`, or an initializer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> variables = FADense(3).init(jax.random.key(0), jnp.ones((2, 4)))
        >>> jax.tree.map(jnp.shape, variables)
        {'feedback': {'kernel': (4, 3)}, 'params': {'bias': (3,), 'kernel': (4, 3)}}
    """


class FAConv(_Convolution, _Fixed, nn.Conv):
    """``nn.Conv`` whose error goes back through fixed random weights; see :class:`FADense`."""


class KPDense(_Learned, nn.Dense):
    """``nn.Dense`` whose error goes back through weights that learn as its own do: its parameter ``feedback``.

    With weight decay in the optimizer the two become one. See :class:`FADense`.
    """


class KPConv(_Convolution, _Learned, nn.Conv):
    """``nn.Conv`` whose error goes back through weights that learn as its own do; see :class:`KPDense`."""


class SignSymmetricDense(_Sign, nn.Dense):
    """``nn.Dense`` whose error goes back through weights that share its own weights' signs.

    Attributes:
        mode: ``"uniform"``: all of one magnitude, the root mean square of the weights at the start (uSF); ``"fixed"``:
            magnitudes drawn once (frSF); ``"batchwise"``: drawn anew at each call, from the random stream
            ``"feedback"`` that ``apply`` is given (brSF).
        feedback_init: how magnitudes are drawn; see :class:`FADense`.
    """


class SignSymmetricConv(_Convolution, _Sign, nn.Conv):
    """``nn.Conv`` whose error goes back through weights that share its own weights' signs.

    See :class:`SignSymmetricDense`.
    """


def _through(blocks: Sequence[Callable[..., Array]], x: Array) -> Array:
    for number, block in enumerate(blocks):
        x = block(direct.cut(x, f"block{number - 1}") if number else x)
    return x


def _taught(module: Any, rule: direct.DirectRule, x: Array, **named: Any) -> Array:
    if module.is_initializing():
        # The blocks must have their parameters before their shapes can be asked for.
        _through(module.blocks, x)
    projections = module.variable(COLLECTION, "projections", lambda: rule.init(_key(module), x))
    return rule.apply(projections.value, x, **named)


class DFANetwork(nn.Module):
    """Blocks in a row, cut between each other: every hidden block is taught by the projected error.

    No block has to know the width of the outputs: the projections, in the collection ``"feedback"``, are drawn when the
    network is initialised.

    Attributes:
        blocks: called one after the other; within each, credit flows by ordinary gradients.
        feedback_init: as ``init`` of :func:`altprop.flax.dfa`.
        normalize: as for :func:`altprop.flax.dfa`.
        signal: as for :func:`altprop.flax.dfa`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import linen as nn
        >>> model = DFANetwork([nn.Sequential([nn.Dense(8), nn.tanh]), nn.Dense(3)])
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 4)))
        >>> variables["feedback"]["projections"]["block0"].shape
        (3, 8)
    """

    blocks: Sequence[Callable[..., Array]]
    feedback_init: str | Initializer = "normal"
    normalize: bool | None = None
    signal: str = "error"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The output of the last block."""
        options = {"init": self.feedback_init, "normalize": self.normalize, "signal": self.signal}
        return _taught(self, direct.dfa(partial(_through, self.blocks), **options), x)  # type: ignore[arg-type]


class DRTPNetwork(nn.Module):
    """Blocks in a row, cut between each other: every hidden block is taught by the projected target.

    Attributes:
        blocks: as of :class:`DFANetwork`.
        feedback_init: as ``init`` of :func:`altprop.flax.drtp`.
        normalize: as for :func:`altprop.flax.drtp`.
    """

    blocks: Sequence[Callable[..., Array]]
    feedback_init: str | Initializer = "normal"
    normalize: bool | None = None

    @nn.compact
    def __call__(self, x: Array, targets: Array | None = None, scale: float = 1.0) -> Array:
        """The output of the last block; to train, with the targets, as :func:`altprop.flax.drtp` takes them."""
        rule = direct.drtp(partial(_through, self.blocks), init=self.feedback_init, normalize=self.normalize)
        if targets is None and not self.is_initializing():
            return _through(self.blocks, x)
        if targets is None:
            targets = jnp.zeros_like(_through(self.blocks, x))
        return _taught(self, rule, x, targets=targets, scale=scale)


class ShallowNetwork(nn.Module):
    """Blocks in a row of which the last alone learns: the control.

    Attributes:
        blocks: as of :class:`DFANetwork`.
    """

    blocks: Sequence[Callable[..., Array]]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The output of the last block."""
        return direct.shallow(partial(_through, self.blocks)).apply({}, x)
