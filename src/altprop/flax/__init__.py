"""The same learning rules for JAX: functions of arrays, and thin modules over them for Flax.

    * weighted sums with feedback weights: :func:`fa_dense`, :func:`kp_dense`, :func:`sign_symmetric_dense`, and the
      convolutions :func:`fa_conv`, :func:`kp_conv`, :func:`sign_symmetric_conv`;
    * direct rules as function transforms, which cut a network at points named by :func:`cut`: :func:`dfa`,
      :func:`drtp`, :func:`shallow`;
    * LFP-ε: activations with a :func:`secant` slope, and the optax transform :func:`scale_by_weights`;
    * :mod:`altprop.flax.metrics`: updates against gradients, feedback weights against forward weights;
    * :mod:`altprop.flax.nnx` and :mod:`altprop.flax.linen`: layers with the signatures of Flax's own.

All work under ``jit``, ``vmap`` and ``grad``, in any floating dtype, and with any optax optimizer.
"""

from importlib.util import find_spec

_missing = [package for package in ("jax", "flax", "optax") if find_spec(package) is None]
if _missing:
    raise ModuleNotFoundError(
        f"altprop.flax needs packages that are not installed ({', '.join(_missing)}). "
        f"Install them with: pip install 'altprop[flax]'",
        name=_missing[0],
    )

from altprop.flax.direct import DirectRule, cut, dfa, drtp, shallow  # noqa: E402  (only with the extra installed)
from altprop.flax.feedback import (  # noqa: E402
    fa_conv,
    fa_dense,
    kp_conv,
    kp_dense,
    sign_symmetric_conv,
    sign_symmetric_dense,
    with_feedback,
)
from altprop.flax.initializers import INITS, feedback_initializer  # noqa: E402
from altprop.flax.lfp import apply_deferred_factor, scale_by_weights, secant  # noqa: E402

__all__ = [
    "INITS",
    "DirectRule",
    "apply_deferred_factor",
    "cut",
    "dfa",
    "drtp",
    "fa_conv",
    "fa_dense",
    "feedback_initializer",
    "kp_conv",
    "kp_dense",
    "scale_by_weights",
    "secant",
    "shallow",
    "sign_symmetric_conv",
    "sign_symmetric_dense",
    "with_feedback",
]
