"""Rules that carry the error back through weights of their own: feedback alignment and its relatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from altprop._class_swap import restore_class, swap_class
from altprop._feedback_init import Init, check_init, make_generator
from altprop.nn._feedback_layer import (
    FeedbackLayer,
    FixedFeedback,
    LearnedFeedback,
    Shared,
    SignFeedback,
    SignMode,
    check_mode,
    explained,
    remove_feedback,
)
from altprop.nn._free_weights import unwatch_free_weights, watch_free_weights
from altprop.nn._operations import operation_of, weight_names
from altprop.nn._witness import calls_its_class, rebind, watch_for_new_layers
from altprop.rule import Rule, modules_of

_WITHOUT_MATRIX = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)


class _FeedbackRule(Rule):
    """The base class of the three rules: finds the layers and draws their state."""

    _layer: type[FeedbackLayer]
    _summary: str

    def __init__(self, init: Init | None, seed: int | None, generator: torch.Generator | None, strict: bool) -> None:
        make_generator(seed, generator)  # refuses both
        self.init = init
        self.seed = seed
        self.generator = generator
        self.strict = strict

    def _draw(self, layer: Any, generator: torch.Generator | None, shared: Shared) -> None:
        layer.draw_feedback(self.init, generator, shared)

    def _check(self, model: nn.Module) -> None:
        """Warn where the rule will not do what its name says."""

    def _misses(self, name: str, module: nn.Module) -> bool:
        return operation_of(type(module)) is not None

    def _install(self, model: nn.Module) -> None:
        layers: list[Any] = _layers(self, model)
        self._check(model)
        watch_for_new_layers()
        generator, shared = make_generator(self.seed, self.generator), Shared()
        for layer in layers:
            if not isinstance(layer, FeedbackLayer):
                operation, forward = operation_of(type(layer)), type(layer).forward
                assert operation is not None
                swap_class(layer, self._layer)
                layer._init_feedback(operation)
                rebind(layer, forward, type(layer).forward)
                self._draw(layer, generator, shared)
            layer._bind(model)
        for name, module in model.named_modules():
            known = isinstance(module, (FeedbackLayer, *_WITHOUT_MATRIX)) or _has_a_matrix(module)
            # The result of a parametrisation is its layer's weight.
            if not known and "parametrizations" not in name.split("."):
                watch_free_weights(module, model, explained)

    def _uninstall(self, model: nn.Module) -> None:
        for module in modules_of(model):
            unwatch_free_weights(module)
            if isinstance(module, FeedbackLayer):
                module._bind(None)
                before, forward = type(module), type(module).forward
                restore_class(module, self._layer)
                if type(module) is not before:
                    rebind(module, forward, type(module).forward)
                    remove_feedback(module)

    def _explain(self, module: nn.Module) -> tuple[str, str] | None:
        known = isinstance(module, FeedbackLayer) or operation_of(type(module)) is not None
        return (type(self).__name__, self._summary) if known and calls_its_class(module) else None


class FeedbackAlignment(_FeedbackRule):
    """Feedback alignment (FA): the error goes back through fixed random weights.

    For a layer z = W a + b with the error δ at z,

        δ_a = Bᵀ δ        in place of Wᵀ δ
        Δw  = −δ aᵀ       as in backprop

    where B, of W's shape, is drawn once. The forward weights come to align with B, so that the error that arrives is
    of use. Handled are ``nn.Linear``, ``nn.Conv1d/2d/3d``, ``nn.ConvTranspose1d/2d/3d``, the projections of
    ``nn.MultiheadAttention`` and Hugging Face's ``Conv1D``; other layers with a weight matrix keep backprop, with a
    warning that names them. Each layer keeps B as its buffer ``feedback_weight``.

    Args:
        init: how B is drawn: ``"normal"``, ``"uniform"``, ``"kaiming_uniform"``, ``"kaiming_normal"``,
            ``"xavier_uniform"``, ``"xavier_normal"``, ``"lecun_uniform"``, ``"lecun_normal"``, ``"orthogonal"``, or a
            callable that fills a tensor in place.
        seed: draws B anew from this at each ``attach``.
        generator: draws B from this; by default from torch's global random state.
        strict: make each warning of the rule an error: of layers and weights that keep backprop, and of feedback
            weights that do not move.

    Raises:
        ValueError: ``init`` is unknown, or both ``seed`` and ``generator`` are given. From ``attach``: the model has no
            such layer, or one whose weights are lazy or quantised.

    Example:
        >>> import altprop, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> attachment = altprop.FeedbackAlignment(seed=0).attach(model)
        >>> model[2].feedback_weight.shape
        torch.Size([3, 8])

    Reference:
        Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning", Nature
        Communications 2016, its equation for the update of the hidden weights; for convolutions Moskovitz,
        Litwin-Kumar and Abbott, "Feedback alignment in deep convolutional networks", 2018.
    """

    _layer = FixedFeedback
    _summary = "The error goes back through fixed random weights."

    def __init__(
        self,
        init: Init = "lecun_uniform",
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        strict: bool = False,
    ) -> None:
        check_init(init)
        super().__init__(init, seed, generator, strict)


class SignSymmetric(_FeedbackRule):
    """Sign-symmetric feedback: the error goes back through weights that share W's signs but not its magnitudes.

    As :class:`FeedbackAlignment`, with B made from the signs that W has at each forward pass (sign 0 := 0, so that a
    weight that is cut carries nothing either way):

        ``"uniform"``     B = s · sign(W)       uSF; s is the spread that W has at the start
        ``"batchwise"``   B = |M| ∘ sign(W)     brSF; M drawn anew after each update of W
        ``"fixed"``       B = |M| ∘ sign(W)     frSF; M drawn once

    Each layer keeps what B is made from as buffers: ``feedback_scale``; for ``"batchwise"`` also ``feedback_draws``;
    for ``"fixed"`` ``feedback_magnitude``, |M|. Its property ``feedback_weight`` is B as it is now. The M of
    ``"batchwise"`` is drawn anew in the first training pass that finds W changed, as a function of the layer's seed and
    of how many draws there were: the same in all passes between two updates, and again in a run that is repeated or
    resumed.

    Args:
        mode: see above.
        init: the distribution of M, and for ``"uniform"`` the one whose standard deviation is s; see
            :class:`FeedbackAlignment`. By default s is the root mean square of W when the rule is attached, M of
            ``"batchwise"`` is uniform with that spread, and M of ``"fixed"`` is drawn as ``"lecun_uniform"``.
            A callable and ``"orthogonal"`` are for ``"fixed"`` alone.
        seed: as for :class:`FeedbackAlignment`.
        generator: as for :class:`FeedbackAlignment`.
        strict: as for :class:`FeedbackAlignment`.

    Raises:
        ValueError: as :class:`FeedbackAlignment`; ``mode`` is unknown, or cannot go with ``init``.

    Example:
        >>> import altprop, torch
        >>> layer = torch.nn.Linear(4, 3)
        >>> with altprop.SignSymmetric("fixed", seed=0).attach(layer):
        ...     bool((layer.feedback_weight.sign() == layer.weight.sign()).all())
        True

    Reference:
        Liao, Leibo and Poggio, "How important is weight symmetry in backpropagation?", AAAI 2016 (uSF, brSF, frSF); the
        scale of uSF from Xiao et al., "Biologically-plausible learning algorithms can scale to large datasets", ICLR
        2019. Batch manhattan, which the first paper adds to them, is an optimizer's business.
    """

    _layer = SignFeedback
    _summary = "The error goes back through weights with the signs of the layer's own."

    def __init__(
        self,
        mode: SignMode = "uniform",
        *,
        init: Init | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        strict: bool = False,
    ) -> None:
        check_mode(mode, init)
        super().__init__(init, seed, generator, strict)
        self.mode = mode

    def _draw(self, layer: Any, generator: torch.Generator | None, shared: Shared) -> None:
        layer.draw_feedback(self.mode, self.init, generator, shared)


class KolenPollack(_FeedbackRule):
    """Kolen–Pollack: feedback weights that get the same updates as the forward weights, and so come to equal them.

    As :class:`FeedbackAlignment`, but B learns too, by W's own gradient:

        ΔW = ΔB = −η δ aᵀ − η λ (W or B)

    With weight decay λ in the optimizer (SGD: W − B shrinks by the factor 1 − η λ at each step) the error goes back
    through the transposed weights in the end, and no weight was ever carried over. Each layer has B as its parameter
    ``feedback_weight``: make the optimizer after ``attach``, or a warning says that B does not move. Where a weight is
    frozen (``requires_grad=False``) its B is left as it is too; the error still goes back through B. A weight that
    other modules use in other ways (an embedding tied to the output layer) also gets their gradients, B does not.

    Args:
        init: how B starts; see :class:`FeedbackAlignment`.
        seed: as for :class:`FeedbackAlignment`.
        generator: as for :class:`FeedbackAlignment`.
        strict: as for :class:`FeedbackAlignment`.

    Raises:
        ValueError: as :class:`FeedbackAlignment`.

    Example:
        >>> import altprop, torch
        >>> layer = torch.nn.Linear(4, 3)
        >>> attachment = altprop.KolenPollack(seed=0).attach(layer)
        >>> layer(torch.randn(2, 4)).square().sum().backward()
        >>> torch.equal(layer.feedback_weight.grad, layer.weight.grad)
        True

    Reference:
        Kolen and Pollack, "Backpropagation without weight transport", ICNN 1994; Akrout et al., "Deep learning without
        weight transport", NeurIPS 2019, its section on the Kolen–Pollack algorithm.
    """

    _layer = LearnedFeedback
    _summary = "The error goes back through weights that learn as the layer's own do."

    def __init__(
        self,
        init: Init = "lecun_uniform",
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        strict: bool = False,
    ) -> None:
        check_init(init)
        super().__init__(init, seed, generator, strict)

    def _check(self, model: nn.Module) -> None:
        computed = [
            name or "the model itself"
            for name, layer in model.named_modules()
            if operation_of(type(layer)) is not None
            and not all(isinstance(getattr(layer, weight), nn.Parameter) for weight in weight_names(layer))
        ]
        if computed:
            self._tell(
                f"{self!r}: the weights of {', '.join(computed)} are computed from other parameters (a parametrisation "
                f"or pruning). B gets the gradient of the weights, but the optimizer's update is of those parameters: "
                f"the two need not come together.",
                stacklevel=4,
            )


def _layers(rule: Rule, model: nn.Module) -> list[nn.Module]:
    """The layers of ``model`` that get feedback weights, or have them; warn of those that keep backprop.

    Raises:
        ValueError: there are none, or one cannot be handled.
    """
    layers, left, replaced = [], [], []
    for name, module in model.named_modules():
        where = f"{name or 'the model itself'} ({type(module).__name__})"
        if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
            raise ValueError(f"Cannot attach {rule!r}: {where} has lazy weights. Call the model on a batch first.")
        if isinstance(module, FeedbackLayer) or operation_of(type(module)) is not None:
            layers.append(module)
            if not calls_its_class(module):
                replaced.append(where)
        elif _has_a_matrix(module):
            left.append(where)
    if not layers:
        raise ValueError(
            f"Cannot attach {rule!r}: {type(model).__name__} has no layer for it. It handles linear layers, "
            f"convolutions and nn.MultiheadAttention."
        )
    if left:
        rule._tell(f"{rule!r} does not handle these layers, which keep backprop: {', '.join(left)}.", stacklevel=4)
    if replaced:
        rule._tell(
            f"{rule!r} cannot act in these layers, whose forward was replaced on the module itself (layer.forward = "
            f"...), and which keep backprop: {', '.join(replaced)}. Attach the rule first, and replace it then.",
            stacklevel=4,
        )
    return layers


def _has_a_matrix(module: nn.Module) -> bool:
    if isinstance(module, _WITHOUT_MATRIX):
        return False
    own = module.named_parameters(recurse=False)
    return any("weight" in name and parameter.dim() >= 2 for name, parameter in own)
