"""Direct rules as transforms of functions: the error or the target is projected to each hidden layer.

The network says where it may be cut: ``h = altprop.flax.cut(h, "hidden1")``. Outside a direct rule that is the
identity. Within one, nothing flows back through the cut, and h is taught by a projection of the error or of the target
instead: what lies between two cuts is a block, in which credit flows by ordinary gradients. The last block has the
error itself.
"""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from altprop.flax.initializers import Initializer, draw_projection

Projections = dict[str, Array]


class DirectRule(NamedTuple):
    """A network under a direct rule.

    Attributes:
        init: ``init(key, *arguments)`` draws the projections, a dict from the names of the cuts to arrays of shape
            (outputs, size of the hidden layer), for a network that is called with such arguments. Nothing is computed.
        apply: ``apply(projections, *arguments)`` is the network's output, the values of the network alone; its
            gradients are the rule's. Under :func:`drtp` also ``targets=`` and ``scale=``.
    """

    init: Callable[..., Projections]
    apply: Callable[..., Array]


class _Cuts:
    """The hidden tensors that met a cut in one run of a network, by name, in order."""

    def __init__(self) -> None:
        self.hidden: dict[str, Array] = {}

    def meet(self, h: Array, name: str) -> Array:
        if name in self.hidden:
            raise ValueError(f"Two cuts are called {name!r}: each needs a name of its own.")
        self.hidden[name] = h
        return lax.stop_gradient(h)


class _Active(threading.local):
    cuts: _Cuts | None = None


_active = _Active()


def cut(h: Array, name: str) -> Array:
    """Mark where a direct rule may cut a network: at the input of a block.

    Not within functions that ``jax.checkpoint``, ``lax.scan`` or another transformation traces on its own inside the
    network; transformations of the whole network are free.

    Args:
        h: the hidden tensor, (batch, ...), the output of a block; or of one sample, if the network is for one.
        name: of the cut; each has its own.

    Returns:
        ``h``.

    Raises:
        ValueError: within a direct rule: the name was met before.
    """
    cuts = _active.cuts
    return h if cuts is None else cuts.meet(h, name)


def dfa(
    network: Callable[..., Array],
    *,
    init: str | Initializer = "normal",
    normalize: bool | None = None,
    signal: str = "error",
) -> DirectRule:
    """Direct feedback alignment: with the error e = ∂L/∂output, the hidden layer h_l is taught B_l e.

    Args:
        network: a function whose output is of shape (..., outputs), and that calls :func:`cut`.
        init: how B_l is drawn, from :data:`~altprop.flax.INITS` or an initializer; the outputs are the fan-in.
        normalize: whether B_l is divided by √n, n the size of h_l; by default for ``"normal"`` and ``"uniform"``.
        signal: ``"error"``, or ``"sign"``: B_l sign(e) / batch.

    Raises:
        ValueError: ``signal`` is neither; from ``init`` and ``apply``: the network has no cut, or h_l and the outputs
            do not begin with the same dimensions (the batch).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def network(weights, x):
        ...     return cut(jnp.tanh(x @ weights[0]), "hidden") @ weights[1]
        >>> rule, weights, x = dfa(network), [jnp.ones((4, 8)), jnp.ones((8, 3))], jnp.ones((2, 4))
        >>> B = rule.init(jax.random.key(0), weights, x)
        >>> jax.tree.map(jnp.shape, B)
        {'hidden': (3, 8)}
        >>> updates = jax.grad(lambda weights: rule.apply(B, weights, x).sum())(weights)

    Reference:
        Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016, eq. 7.
    """
    if signal not in ("error", "sign"):
        raise ValueError(f"signal must be 'error' or 'sign', got {signal!r}.")

    def apply(projections: Projections, *arguments: Any, **named: Any) -> Array:
        output, hidden = _run(network, arguments, named)
        return _teach(output, hidden, projections, None, sign=signal == "sign")

    return DirectRule(_drawing(network, init, normalize), apply)


def drtp(
    network: Callable[..., Array], *, init: str | Initializer = "normal", normalize: bool | None = None
) -> DirectRule:
    """Direct random target projection: with one-hot targets y*, the hidden layer h_l is taught B_l y* / batch.

    ``apply`` takes ``targets=``, classes of shape (batch) or one-hot of the outputs' shape; and ``scale=``, a factor
    of the signal: under ``vmap`` over samples give 1 / batch.

    Args:
        network: as for :func:`dfa`. Its activations should be bounded: the signal does not shrink as an error does.
        init: as for :func:`dfa`.
        normalize: as for :func:`dfa`.

    Raises:
        ValueError: as for :func:`dfa`; the targets do not fit the outputs.

    Reference:
        Frenkel, Lefebvre and Bol, "Learning without feedback: fixed random learning signals allow for feedforward
        training of deep neural networks", Frontiers in Neuroscience 2021.
    """

    def apply(
        projections: Projections, *arguments: Any, targets: Array, scale: float | Array = 1.0, **named: Any
    ) -> Array:
        output, hidden = _run(network, arguments, named)
        source = _one_hot(targets, output) * (scale / math.prod(output.shape[:-1]))
        return _teach(output, hidden, projections, source, sign=False)

    return DirectRule(_drawing(network, init, normalize), apply)


def shallow(network: Callable[..., Array]) -> DirectRule:
    """Train what follows the last cut alone: the control that every other rule must beat. It has no projections."""

    def apply(projections: Projections, *arguments: Any, **named: Any) -> Array:
        return _run(network, arguments, named)[0]

    return DirectRule(lambda key, *arguments, **named: {}, apply)


def _run(
    network: Callable[..., Array], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Array, dict[str, Array]]:
    """The output, and what met the cuts."""
    before, cuts = _active.cuts, _Cuts()
    _active.cuts = cuts
    try:
        output = network(*arguments, **named)
    finally:
        _active.cuts = before
    if not cuts.hidden:
        raise ValueError("The network has no cut: mark the inputs of its blocks with altprop.flax.cut(h, name).")
    return output, cuts.hidden


def _drawing(
    network: Callable[..., Array], init: str | Initializer, normalize: bool | None
) -> Callable[..., Projections]:
    def draw(key: Array, *arguments: Any, **named: Any) -> Projections:
        output, hidden = jax.eval_shape(lambda: _run(network, arguments, named))
        return {
            name: draw_projection(
                # A name's projection does not depend on which other cuts there are.
                jax.random.fold_in(key, zlib.crc32(name.encode())),
                output.shape[-1],
                _features(name, h.shape, output.shape),
                init,
                normalize,
                h.dtype,
            )
            for name, h in hidden.items()
        }

    return draw


def _features(name: str, h: tuple[int, ...], output: tuple[int, ...]) -> int:
    """The size of h_l: of the dimensions behind those that it shares with the outputs."""
    shared = len(output) - 1
    if h[:shared] != output[:-1]:
        raise ValueError(
            f"The cut {name!r} has the shape {h} and the outputs {output}: a hidden layer begins with the dimensions "
            f"that come before the outputs, {output[:-1]}."
        )
    return math.prod(h[shared:])


def _teach(
    output: Array, hidden: dict[str, Array], projections: Projections, source: Array | None, *, sign: bool
) -> Array:
    """``output``, from which each hidden tensor gets the projected source, or without one the projected error."""
    _check(hidden, projections, output)
    shapes = {name: (h.shape, h.dtype) for name, h in hidden.items()}

    @jax.custom_vjp
    def run(output: Array, hidden: dict[str, Array], projections: Projections, source: Array | None) -> Array:
        return output

    def forward(
        output: Array, hidden: dict[str, Array], projections: Projections, source: Array | None
    ) -> tuple[Array, tuple[Projections, Array | None]]:
        return output, (projections, source)

    def backward(saved: tuple[Projections, Array | None], error: Array) -> tuple[Any, ...]:
        projections, given = saved
        signal = _signal(error, sign) if given is None else given
        taught = {
            name: (signal @ projections[name]).reshape(shape).astype(dtype) for name, (shape, dtype) in shapes.items()
        }
        return error, taught, jax.tree.map(jnp.zeros_like, projections), jax.tree.map(jnp.zeros_like, given)

    run.defvjp(forward, backward)
    return run(output, hidden, {name: projections[name] for name in hidden}, source)


def _signal(error: Array, sign: bool) -> Array:
    return jnp.sign(error) / math.prod(error.shape[:-1]) if sign else error


def _check(hidden: dict[str, Array], projections: Projections, output: Array) -> None:
    for name, h in hidden.items():
        if name not in projections:
            raise ValueError(f"There is no projection for the cut {name!r}: draw them with init(key, ...).")
        needed = (output.shape[-1], _features(name, h.shape, output.shape))
        if projections[name].shape != needed:
            raise ValueError(f"The cut {name!r} needs a projection of shape {needed}, got {projections[name].shape}.")


def _one_hot(targets: Array, output: Array) -> Array:
    if targets.shape == output.shape:
        return targets.astype(output.dtype)
    if targets.shape != output.shape[:-1] or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"DRTP's targets are classes of shape {output.shape[:-1]} or one-hot of shape {output.shape}, got "
            f"{targets.dtype} of shape {targets.shape}."
        )
    return jax.nn.one_hot(targets, output.shape[-1], dtype=output.dtype)
