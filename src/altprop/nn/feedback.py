"""Layers with feedback weights, for models that are built from them; they need no rule to be attached.

Each takes the arguments of torch's layer of that kind, and ``feedback_init=`` and ``generator=`` (sign-symmetric layers
``mode=`` too) as the rule of that kind has them: :class:`altprop.FeedbackAlignment`, :class:`altprop.SignSymmetric` and
:class:`altprop.KolenPollack`. While a rule of these is attached to a model that holds such layers, they stay what they
are, and are suspended with its attachment.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from altprop._feedback_init import Init, check_init
from altprop.nn._feedback_layer import FixedFeedback, LearnedFeedback, SignFeedback, SignMode, check_mode
from altprop.nn._operations import operation_of


class _Random:
    """The constructor of layers whose feedback weights are drawn at random."""

    def __init__(
        self,
        *args: Any,
        feedback_init: Init = "lecun_uniform",
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        check_init(feedback_init)
        super().__init__(*args, **kwargs)
        _init_feedback(self)
        self.draw_feedback(feedback_init, generator, {})  # type: ignore[attr-defined]


class _Sign(SignFeedback):
    """The constructor of layers whose feedback weights have the weights' signs."""

    def __init__(
        self,
        *args: Any,
        mode: SignMode = "uniform",
        feedback_init: Init | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        check_mode(mode, feedback_init)
        super().__init__(*args, **kwargs)
        _init_feedback(self)
        self.draw_feedback(mode, feedback_init, generator, {})


def _init_feedback(layer: Any) -> None:
    operations = (operation_of(cls) for cls in type(layer).__mro__)
    layer._init_feedback(next(operation for operation in operations if operation is not None))


class FALinear(_Random, FixedFeedback, nn.Linear):
    """``nn.Linear`` whose error goes back through fixed random weights.

    Example:
        >>> import altprop, torch
        >>> layer = altprop.nn.FALinear(4, 3, feedback_init="lecun_normal", generator=torch.Generator().manual_seed(0))
        >>> a = torch.randn(2, 4, requires_grad=True)
        >>> layer(a).sum().backward()
        >>> torch.allclose(a.grad, layer.feedback_weight.sum(0).expand(2, 4))
        True
    """


class FAConv1d(_Random, FixedFeedback, nn.Conv1d):
    """``nn.Conv1d`` whose error goes back through fixed random weights."""


class FAConv2d(_Random, FixedFeedback, nn.Conv2d):
    """``nn.Conv2d`` whose error goes back through fixed random weights."""


class FAConv3d(_Random, FixedFeedback, nn.Conv3d):
    """``nn.Conv3d`` whose error goes back through fixed random weights."""


class FAConvTranspose1d(_Random, FixedFeedback, nn.ConvTranspose1d):
    """``nn.ConvTranspose1d`` whose error goes back through fixed random weights."""


class FAConvTranspose2d(_Random, FixedFeedback, nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` whose error goes back through fixed random weights."""


class FAConvTranspose3d(_Random, FixedFeedback, nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` whose error goes back through fixed random weights."""


class SignSymmetricLinear(_Sign, nn.Linear):
    """``nn.Linear`` whose error goes back through weights that share its own weights' signs.

    Example:
        >>> import altprop, torch
        >>> layer = altprop.nn.SignSymmetricLinear(4, 3, mode="fixed")
        >>> torch.equal(layer.feedback_weight.sign(), layer.weight.sign())
        True
    """


class SignSymmetricConv1d(_Sign, nn.Conv1d):
    """``nn.Conv1d`` whose error goes back through weights that share its own weights' signs."""


class SignSymmetricConv2d(_Sign, nn.Conv2d):
    """``nn.Conv2d`` whose error goes back through weights that share its own weights' signs."""


class SignSymmetricConv3d(_Sign, nn.Conv3d):
    """``nn.Conv3d`` whose error goes back through weights that share its own weights' signs."""


class SignSymmetricConvTranspose1d(_Sign, nn.ConvTranspose1d):
    """``nn.ConvTranspose1d`` whose error goes back through weights that share its own weights' signs."""


class SignSymmetricConvTranspose2d(_Sign, nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` whose error goes back through weights that share its own weights' signs."""


class SignSymmetricConvTranspose3d(_Sign, nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` whose error goes back through weights that share its own weights' signs."""


class KPLinear(_Random, LearnedFeedback, nn.Linear):
    """``nn.Linear`` whose error goes back through weights that learn as its own do.

    Example:
        >>> import altprop, torch
        >>> [name for name, _ in altprop.nn.KPLinear(4, 3).named_parameters()]
        ['weight', 'bias', 'feedback_weight']
    """


class KPConv1d(_Random, LearnedFeedback, nn.Conv1d):
    """``nn.Conv1d`` whose error goes back through weights that learn as its own do."""


class KPConv2d(_Random, LearnedFeedback, nn.Conv2d):
    """``nn.Conv2d`` whose error goes back through weights that learn as its own do."""


class KPConv3d(_Random, LearnedFeedback, nn.Conv3d):
    """``nn.Conv3d`` whose error goes back through weights that learn as its own do."""


class KPConvTranspose1d(_Random, LearnedFeedback, nn.ConvTranspose1d):
    """``nn.ConvTranspose1d`` whose error goes back through weights that learn as its own do."""


class KPConvTranspose2d(_Random, LearnedFeedback, nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` whose error goes back through weights that learn as its own do."""


class KPConvTranspose3d(_Random, LearnedFeedback, nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` whose error goes back through weights that learn as its own do."""
