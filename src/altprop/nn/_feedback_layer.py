"""Layers with feedback weights, through which the error goes back instead of through the forward weights.

Each class here is laid over a class of torch's layers: by a learning rule in place (:mod:`altprop._class_swap`), or as
a base class by the public layers of :mod:`altprop.nn`. It says what the feedback weights are and where they are kept;
the forward pass of each kind of layer is in :mod:`altprop.nn._operations`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from altprop._feedback_init import Init, check_init, init_feedback_, spread_of
from altprop._switches import without_gradients
from altprop._unsupported import refuse_transforms
from altprop.nn._operations import Operation, fans, weight_names
from altprop.nn._witness import UNSEEN, trained_weights, unwatch, watch, watch_again
from altprop.ops.interceptor import active_interceptor
from altprop.ops.redrawn import draw_for, first_draw, magnitudes
from altprop.rule import Attachment

SignMode = Literal["uniform", "batchwise", "fixed"]
Shared = dict[Any, dict[str, Tensor]]
"""The state that was made for each weight parameter: layers that share a weight share its feedback weights."""

_MODEL, _OPERATION = "_altprop_model", "_altprop_operation"
_VERSIONS, _FROZEN = "_altprop_versions", "_altprop_frozen"
_STATE = ("feedback_weight", "feedback_magnitude", "feedback_scale", "feedback_draws")


class FeedbackLayer:
    """Mixin for a layer's class: the error goes back through feedback weights instead of its weights."""

    _altprop_operation: Operation

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes; the error goes back through the feedback weights."""
        try:
            operation = self._altprop_operation
        except AttributeError:  # The rule is off, and someone has kept this method of the layer.
            return type(self).forward(self, *args, **kwargs)
        if not torch.is_grad_enabled():
            return self.plain_forward(*args, **kwargs)
        if UNSEEN in self.__dict__:
            self._seen()
        if self._suspended() or explained():
            return self.plain_forward(*args, **kwargs)
        if not torch.compiler.is_compiling():
            refuse_transforms(self)
        return operation(self, *args, **kwargs)

    def plain_forward(self, *args: Any, **kwargs: Any) -> Any:
        """The forward pass of the original class, with backprop."""
        return super().forward(*args, **kwargs)  # type: ignore[misc]

    def feedback_for(self, name: str, a: Tensor) -> Tensor | None:
        """The weights that carry the error back to ``a`` in place of ``name``; None if ``a`` needs no gradient."""
        return self.feedback(name) if a.requires_grad else None

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        watch_again(self)  # type: ignore[arg-type]

    @abstractmethod
    def feedback(self, name: str) -> Tensor:
        """The feedback weights B of the weight called ``name``, of its shape."""

    def feedback_pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Each weight matrix of the layer with its feedback weights."""
        return [(getattr(self, name), self.feedback(name)) for name in weight_names(self)]  # type: ignore[arg-type]

    def _seen(self) -> None:
        if not torch.compiler.is_compiling():
            unwatch(self)  # type: ignore[arg-type]
        elif (attachment := self.attachment()) is not None:
            # Noted there and not on the layer, which would trigger a recompilation.
            attachment.traced = True

    def _init_feedback(self, operation: Operation) -> None:
        """Prepare a module over whose class this one was laid; its feedback weights come after."""
        self.__dict__[_OPERATION] = operation

    def _bind(self, model: nn.Module | None) -> None:
        """Follow the attachment of ``model``: be suspended with it, and warn if the layer never acts. None: unbind."""
        unwatch(self)  # type: ignore[arg-type]
        if model is None:
            self.__dict__.pop(_MODEL, None)
            return
        self.__dict__[_MODEL] = model
        watch(self)  # type: ignore[arg-type]

    def attachment(self) -> Attachment | None:
        """The attachment that the layer follows, if one is on."""
        model = self.__dict__.get(_MODEL)
        return None if model is None else Attachment.of(model)

    def _suspended(self) -> bool:
        model = self.__dict__.get(_MODEL)
        attachment = None if model is None else Attachment.of(model)
        return attachment is not None and not attachment.active

    def _keep(self, kind: str, name: str, value: Tensor, shared: Shared) -> None:
        """Keep ``value`` on the module as a buffer, or a parameter if it is one; or what was kept for a tied weight."""
        weight = getattr(self, name)
        value = shared.setdefault(weight, {}).setdefault(kind, value) if isinstance(weight, nn.Parameter) else value
        full_name = name.removesuffix("weight") + kind
        if isinstance(value, nn.Parameter):
            self.register_parameter(full_name, value)  # type: ignore[attr-defined]
        else:
            self.register_buffer(full_name, value)  # type: ignore[attr-defined]

    def _kept(self, kind: str, name: str) -> Tensor:
        kept: Tensor = getattr(self, name.removesuffix("weight") + kind)
        return kept

    def _drawn(self, name: str, init: Init, generator: torch.Generator | None) -> Tensor:
        weight = getattr(self, name)
        fan_in, fan_out = fans(self, weight)  # type: ignore[arg-type]
        drawn = torch.empty_like(weight, requires_grad=False)
        return init_feedback_(drawn, init, fan_in=fan_in, fan_out=fan_out, generator=generator)


def explained() -> bool:
    """Whether LRP is running the layer: LRP explains the forward weights."""
    interceptor = active_interceptor()
    return interceptor is not None and interceptor.kind == "lrp"


def remove_feedback(module: nn.Module) -> None:
    """Take the feedback weights, and all else that :class:`FeedbackLayer` keeps, off a module of the class below."""
    for name in weight_names(module):
        for kind in _STATE:
            full_name = name.removesuffix("weight") + kind
            module._buffers.pop(full_name, None)
            module._parameters.pop(full_name, None)
    for name in (_OPERATION, _VERSIONS, _FROZEN, "feedback_mode", "feedback_distribution"):
        module.__dict__.pop(name, None)


class FixedFeedback(FeedbackLayer):
    """B is random and stays as it is: a buffer, ``feedback_weight``."""

    def draw_feedback(self, init: Init, generator: torch.Generator | None, shared: Shared) -> None:
        """Draw B."""
        for name in weight_names(self):  # type: ignore[arg-type]
            self._keep("feedback_weight", name, self._drawn(name, init, generator), shared)

    def feedback(self, name: str) -> Tensor:
        """B."""
        return self._kept("feedback_weight", name)


class SignFeedback(FeedbackLayer):
    """B has the signs of W, as W has them now, and magnitudes of its own."""

    feedback_mode: SignMode
    feedback_distribution: str

    def draw_feedback(
        self, mode: SignMode, init: Init | None, generator: torch.Generator | None, shared: Shared
    ) -> None:
        """Fix the scale of B's entries, or draw what their magnitudes come from."""
        self.__dict__["feedback_mode"] = mode
        for name in weight_names(self):  # type: ignore[arg-type]
            weight = getattr(self, name).detach()
            if mode == "fixed":
                magnitude = self._drawn(name, init or "lecun_uniform", generator).abs_()
                self._keep("feedback_magnitude", name, magnitude, shared)
                continue
            scale = weight.to(torch.promote_types(weight.dtype, torch.float32)).square().mean().sqrt()
            if init is not None:
                shape, deviation = spread_of(init, *fans(self, weight))  # type: ignore[arg-type]
                scale = torch.full_like(scale, deviation)
            self._keep("feedback_scale", name, scale.to(weight.dtype), shared)
            if mode == "batchwise":
                self.__dict__["feedback_distribution"] = "uniform" if init is None else shape
                self._keep("feedback_draws", name, first_draw(weight, generator), shared)

    @without_gradients
    def feedback_for(self, name: str, a: Tensor) -> Tensor | None:
        """B; a training pass remembers for which weights M was drawn."""
        if not a.requires_grad:
            return None
        if self.feedback_mode != "batchwise":
            return self.feedback(name)
        draws = self._kept("feedback_draws", name)
        draws.copy_(draw_for(getattr(self, name), draws))
        return self._redrawn(name, draws)

    @without_gradients
    def feedback(self, name: str) -> Tensor:
        """B = sign(W) · magnitude, where sign 0 is 0: a weight that is cut sends no error back."""
        weight = getattr(self, name)
        if self.feedback_mode == "batchwise":
            return self._redrawn(name, draw_for(weight, self._kept("feedback_draws", name)))
        kind = "feedback_scale" if self.feedback_mode == "uniform" else "feedback_magnitude"
        return torch.sign(weight).mul_(self._kept(kind, name))

    def _redrawn(self, name: str, draws: Tensor) -> Tensor:
        weight = getattr(self, name)
        drawn = magnitudes(weight, draws, self.feedback_distribution)
        return torch.sign(weight).mul_(drawn).mul_(self._kept("feedback_scale", name))

    @property
    def feedback_weight(self) -> Tensor:
        """The feedback weights B as they are now, of the weight's shape."""
        return self.feedback("weight")


class LearnedFeedback(FeedbackLayer):
    """B is a parameter, ``feedback_weight``, whose gradient is that of the weight."""

    def draw_feedback(self, init: Init, generator: torch.Generator | None, shared: Shared) -> None:
        """Draw B as it starts."""
        for name in weight_names(self):  # type: ignore[arg-type]
            trained = getattr(self, name).requires_grad
            value = nn.Parameter(self._drawn(name, init, generator), requires_grad=trained)
            self._keep("feedback_weight", name, value, shared)
            if not trained:
                self._frozen().add(name)

    def feedback_for(self, name: str, a: Tensor) -> Tensor | None:
        """B. It learns with the weight also where no error has to go back; without it if the weight is frozen."""
        weight, B = getattr(self, name), self._kept("feedback_weight", name)
        learns = weight.requires_grad
        if learns is not B.requires_grad:
            self._freeze_with(name, weight, B)
        if not learns:
            return B.detach() if a.requires_grad else None
        if not torch.compiler.is_compiling():
            self._check_that_feedback_moves(name, weight, B)
        return B

    def feedback(self, name: str) -> Tensor:
        """B."""
        return self._kept("feedback_weight", name)

    def _frozen(self) -> set[str]:
        """The weights whose B is frozen because they are."""
        frozen: set[str] = self.__dict__.setdefault(_FROZEN, set())
        return frozen

    def _freeze_with(self, name: str, weight: Tensor, B: Tensor) -> None:
        """Let B learn when the weight does, unless it was frozen by itself."""
        if not weight.requires_grad:
            if not torch.compiler.is_compiling():
                B.requires_grad_(False)
                self._frozen().add(name)
        elif name in self._frozen():
            B.requires_grad_()
            self._frozen().discard(name)

    def _version_of_sources(self) -> int:
        versions: list[int] = [source._version for source in trained_weights(self)]  # type: ignore[arg-type]
        return sum(versions)

    def _check_that_feedback_moves(self, name: str, weight: Tensor, B: Tensor) -> None:
        attachment = self.attachment()
        if attachment is None or _VERSIONS in attachment.warned or not B.requires_grad:
            return
        # A tensor's version counts in-place changes, including the optimizer's.
        version = weight._version if weight.is_leaf else self._version_of_sources()
        seen = self.__dict__.setdefault(_VERSIONS, {})
        before, seen[name] = seen.get(name), (version, B._version)
        if before is not None and before[0] != version and before[1] == B._version:
            attachment.tell(
                _VERSIONS,
                f"{attachment.rule!r}: the weights have changed since the last pass and the feedback weights have not. "
                f"The optimizer must hold both: make it after attach(), from model.parameters().",
            )


def check_mode(mode: str, init: Init | None) -> None:
    """Raise a ValueError unless ``mode`` is one of the three and ``init`` fits it."""
    if mode not in ("uniform", "batchwise", "fixed"):
        raise ValueError(f"mode must be 'uniform', 'batchwise' or 'fixed', got {mode!r}.")
    if init is not None and mode == "fixed":
        check_init(init)
    elif init is not None:
        spread_of(init, 1, 1)
